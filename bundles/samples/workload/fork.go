package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spare is how many children are ended again when the limit was met, before
// anything else: the Go runtime needs room for a thread or two, and dies without.
const spare = 4

// fork doesn't re-execute itself, since a Go program has several threads and would
// count as several against the limit: each child is one task.
func fork(args []string) error {
	if err := count(args, 1, 2); err != nil {
		return err
	}
	wanted, err := number(args[0])
	if err != nil {
		return err
	}
	var hold time.Duration
	if len(args) == 2 {
		if hold, err = duration(args[1]); err != nil {
			return err
		}
	}
	children := make([]int, 0, wanted)
	var failure unix.Errno
	// From the first child on, nothing that makes the runtime start a thread.
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	for len(children) < wanted {
		pid, errno := startSleeper()
		if errno != 0 {
			failure = errno
			break
		}
		children = append(children, pid)
	}
	started := len(children)
	if failure != 0 {
		keep := max(started-spare, 0)
		end(children[keep:])
		children = children[:keep]
	}
	fmt.Printf("started %d\n", started)
	if failure != 0 {
		fmt.Printf("stopped_by %s\n", unix.ErrnoName(failure))
	}
	time.Sleep(hold)
	end(children)
	return nil
}

// startSleeper starts a child that sleeps until it is killed or this thread ends.
// The child shares no memory with its parent, but has only one thread of the Go
// runtime: it may run nothing but raw system calls, on the stack that is there.
//
//go:nosplit
//go:norace
func startSleeper() (int, unix.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0, 0)
	for {
		syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

func end(children []int) {
	for _, pid := range children {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for _, pid := range children {
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}

func zombie(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	wanted, err := number(args[0])
	if err != nil {
		return err
	}
	for range wanted {
		pid, errno := startOrphan()
		if errno != 0 {
			return fmt.Errorf("clone: %w", errno)
		}
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			return fmt.Errorf("wait for child: %w", err)
		}
	}
	// A reaper may need a moment for them. Without one they stay.
	deadline := time.Now().Add(time.Second)
	zombies, err := countZombies()
	for err == nil && zombies > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		zombies, err = countZombies()
	}
	if err != nil {
		return err
	}
	fmt.Printf("orphans %d\nzombies %d\n", wanted, zombies)
	return nil
}

// startOrphan starts a child that starts a child; both exit at once. The second
// one is left to the PID 1 of the PID namespace or to a subreaper. See
// startSleeper for what the children may do.
//
//go:nosplit
//go:norace
func startOrphan() (int, unix.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}

// countZombies counts the processes in state Z that /proc shows.
func countZombies() (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	zombies := 0
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return 0, err
		}
		// The name in parentheses may contain anything; the state follows it.
		_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		if strings.HasPrefix(state, "Z") {
			zombies++
		}
	}
	return zombies, nil
}
