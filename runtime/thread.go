package runtime

import (
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// onThrowAwayThread runs do on a thread whose namespaces it may change: the
// thread ends with it, as its goroutine keeps it to the end. The process's first
// thread cannot end, and is what others see in /proc/PID, so it is kept busy
// where it would have been the one.
func onThrowAwayThread(do func() error) error {
	result := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- do()
			return
		}
		defer goruntime.UnlockOSThread()
		result <- onThrowAwayThread(do)
	}()
	return <-result
}
