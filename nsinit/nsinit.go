package nsinit

/*
#cgo CFLAGS: -Wall -Wextra
#include "parent_death.h"
#include "timer_slack.h"
*/
import "C"

import (
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // C constructor: joins and makes the namespaces before Go starts
	"golang.org/x/sys/unix"

	_ "github.com/sandboxrun/sandboxrun/nsinit/chroot"
	_ "github.com/sandboxrun/sandboxrun/nsinit/patience"
)

// init is the re-exec hook. It never returns in a container's init process.
func init() {
	if len(os.Args) != 2 || os.Args[1] != "init" || os.Getenv("_LIBCONTAINER_INITPIPE") == "" {
		return
	}
	// The thread must be the one that execs in the end: the kernel keeps the
	// parent death signal per thread.
	runtime.LockOSThread()
	err := RestoreTimerSlack()
	if err == nil {
		err = restoreParentDeathSignal()
	}
	if err == nil {
		err = prepareLateSeccomp()
	}
	if err != nil {
		// libcontainer's error channel is not open yet. The parent sees the
		// early exit and this line.
		os.Stderr.WriteString("sandboxrun init: " + err.Error() + "\n") //nolint:errcheck // nobody left to tell
		os.Exit(1)
	}
	libcontainer.Init()
}

// RestoreTimerSlack gives the calling thread the timer slack that the process
// was started with, so that what is forked from it has that too. It is for
// goroutines that are locked to their thread.
func RestoreTimerSlack() error {
	return os.NewSyscallError("prctl(PR_SET_TIMERSLACK)",
		unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(C.sandboxrun_timer_slack), 0, 0, 0))
}

// restoreParentDeathSignal arms the parent death signal that the supervisor
// asked for. fork clears it (prctl(2)), and nsexec forks twice on the way
// here; parent_death.c noted it in the first of these processes.
//
// A parent that died before this call is noticed too: init then reads an end
// of file from the pipe to its parent and gives up.
func restoreParentDeathSignal() error {
	sig := C.sandboxrun_parent_death_signal
	if sig == 0 {
		return nil
	}
	return os.NewSyscallError("prctl(PR_SET_PDEATHSIG)",
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(sig), 0, 0, 0))
}
