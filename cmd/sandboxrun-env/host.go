package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// A shell's codes for commands that cannot be run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// runOutside runs the command of env test on the host, with more variables, and
// returns its exit code, 128+n after signal n. It is killed when ctx ends. The
// first interrupt is passed on, unless the terminal has sent it to both; each
// further one kills.
func (inv *invocation) runOutside(ctx context.Context, interrupts *interrupts, args, environ []string) (int, error) {
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), environ...)
	command.Stdin, command.Stdout, command.Stderr = inv.streams.in, inv.streams.out, inv.streams.err
	// The kernel's signal comes when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		inv.exitCode = exitNotExecutable
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			inv.exitCode = exitNotFound
		}
		return 0, fmt.Errorf("cannot run the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }() // waited for below, on every way
	interrupted := interrupts.ctx.Done()
	for {
		select {
		case err := <-ended:
			return exitCodeOf(command.ProcessState, err)
		case <-ctx.Done():
			command.Process.Kill() //nolint:errcheck // it may have ended
			return exitCodeOf(command.ProcessState, <-ended)
		case <-interrupted:
			interrupted = nil
			if !inForeground() {
				command.Process.Signal(interrupts.first()) //nolint:errcheck // it may have ended
			}
		case <-interrupts.more:
			command.Process.Kill() //nolint:errcheck // it may have ended
		}
	}
}

// exitCodeOf is the code that a shell would tell.
func exitCodeOf(state *os.ProcessState, err error) (int, error) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok {
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	}
	return 0, fmt.Errorf("wait for the command: %w", err)
}

// inForeground tells whether this process is where its terminal sends Ctrl-C, and so
// are its children.
func inForeground() bool {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer terminal.Close()
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
