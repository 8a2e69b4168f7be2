// Command attacker is the hostile program of the security tests. Its first
// argument names what it does; it prints one line "NAME RESULT" for each thing it
// found, and "ready" where the tests have to wait for it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	// What is per thread, as the parent death signal, is of the first one.
	runtime.LockOSThread()
	if err := attack(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		os.Exit(1)
	}
}

func attack(args []string) error {
	attacks := map[string]func(args []string) error{
		"sleep":           func([]string) error { return stay() },
		"nap":             nap,
		"clear-pdeathsig": clearParentDeathSignal,
		"descriptors":     descriptors,
		"descriptors-to":  descriptorsTo,
		"processes":       processes,
		"reach":           reach,
		"open":            openAll,
		"identity":        identity,
		"exchange":        exchange,
		"hunt":            hunt,
		"overwrite-pid1":  overwritePID1,
		"pester":          pester,
		"fake-proc":       fakeProc,
		"climb":           climb,
		"escapes":         escapes,
		"escape":          escape,
		"trusting-mounts": trustingMounts,
		"trusting-mask":   trustingMask,
		"trusting-sysctl": trustingSysctl,
	}
	if len(args) == 0 || attacks[args[0]] == nil {
		return fmt.Errorf("no such attack: %q", args)
	}
	return attacks[args[0]](args[1:])
}

// stay tells that all is prepared and lives until it is killed.
func stay() error {
	fmt.Fprintln(os.Stdout, "ready")
	// A channel that nobody sends to would be a deadlock to the Go runtime.
	wait := make(chan os.Signal, 1)
	signal.Notify(wait, unix.SIGUSR1)
	<-wait
	return nil
}

// clearParentDeathSignal undoes what ties a program to its supervisor. The signal
// belongs to the thread that the container's init was.
func clearParentDeathSignal([]string) error {
	if unix.Gettid() != os.Getpid() {
		return errors.New("not on the first thread")
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return err
	}
	return stay()
}
