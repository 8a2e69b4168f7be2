package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNamespace is the network namespace of the thread that opens it.
const threadNamespace = "/proc/thread-self/ns/net"

// elsewhere runs do on a thread that enter has put into another network namespace, and waits for it. do may call leave to
// come back before it ends, and must if it blocks for long: until then it holds a thread of its own.
//
// The thread comes back to where it was rather than dying: a thread's death is a signal to the children that it forked
// (PR_SET_PDEATHSIG), among them containers. Only one that cannot come back dies, since nobody else may run on it.
func elsewhere(enter func() error, do func(leave func() error) error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			result <- &os.PathError{Op: "open", Path: threadNamespace, Err: err}
			return
		}
		defer unix.Close(home)
		if err := enter(); err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		left := false
		leave := func() error {
			if left {
				return nil
			}
			if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("leave network namespace: %w", os.NewSyscallError("setns", err))
			}
			left = true
			runtime.UnlockOSThread()
			return nil
		}
		err = do(leave)
		result <- errors.Join(err, leave())
	}()
	return <-result
}
