package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// signals runs until SIGKILL, or until the trapped signal. SIGURG isn't shown: the
// Go runtime sends it to itself.
func signals(args []string) error {
	trapped, end := syscall.Signal(0), error(nil)
	if len(args) != 0 {
		if len(args) != 4 || args[0] != "trap" || args[2] != "exit" {
			return fmt.Errorf("%w: %s", errUsage, strings.Join(args, " "))
		}
		var err error
		if trapped, err = signalNumber(args[1]); err != nil {
			return err
		}
		if end = exitWith(args[3]); errors.Is(end, errUsage) {
			return end
		}
	}
	received := make(chan os.Signal, 64)
	signal.Notify(received)
	fmt.Println("ready")
	for got := range received {
		s, ok := got.(syscall.Signal)
		if !ok || s == syscall.SIGURG {
			continue
		}
		fmt.Println(signalName(s))
		if s == trapped {
			return end
		}
	}
	return nil
}

// suicide can't work as PID 1 of a PID namespace: the kernel ignores signals with
// their default action there, unless they come from outside.
func suicide(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	s, err := signalNumber(args[0])
	if err != nil {
		return err
	}
	// The Go runtime has handlers for most signals. All bytes zero is SIG_DFL
	// without flags. SIGKILL and SIGSTOP give EINVAL and need none of it.
	runtime.LockOSThread()
	var action [4]uint64
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), s); err != nil {
		return fmt.Errorf("tgkill: %w", err)
	}
	// Delivery comes at the latest when the call returns; a stop ends by SIGCONT.
	time.Sleep(100 * time.Millisecond)
	return fmt.Errorf("survived %s", signalName(s))
}

func signalNumber(name string) (syscall.Signal, error) {
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return s, nil
	}
	n, err := number(name)
	if err != nil || n < 1 || n > 64 {
		return 0, fmt.Errorf("%w: %q is not a signal", errUsage, name)
	}
	return syscall.Signal(n), nil
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}
