package runtime

import (
	"errors"
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

// errFirstThread means that the process has more threads than it should have before
// its first container.
var errFirstThread = errors.New("cannot keep the process's first thread: something else holds it")

// KeepFirstThread keeps everybody off the process's first thread until release. It is
// for a process that starts many containers, before the first of them and before
// signal.Notify. libcontainer lets threads that have joined a container's mount
// namespace end with their goroutines; the first thread cannot end, and would be what
// /proc/self and /proc/PID show from then on: the container's root and mounts.
func KeepFirstThread() (release func(), _ error) {
	const most = 64 // threads are taken until it is among them
	over, losers := make(chan struct{}), make(chan struct{})
	defer close(losers)
	for range most {
		first := make(chan bool)
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			goruntime.LockOSThread()
			defer goruntime.UnlockOSThread()
			if unix.Gettid() == unix.Getpid() {
				first <- true
				<-over
				return
			}
			first <- false
			<-losers // so that the next goroutine gets another thread
		}()
		if <-first {
			return func() { close(over); <-kept }, nil
		}
	}
	return nil, errFirstThread
}
