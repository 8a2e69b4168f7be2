package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// removeTimeout ends Kill and Remove when the caller's context has no deadline.
const removeTimeout = 10 * time.Second

// Kill ends every process in the group and the groups below it by SIGKILL and returns when none is left
// (zombies don't count). It does nothing when there are none. Where the kernel can kill a whole group
// (cgroup.kill, Linux 5.14, in the v2 tree) it does that; on v1 it first thaws the group, because a
// frozen v1 process outlives SIGKILL, and then kills until the lists are empty, which also ends a
// fork bomb. It refuses to kill the caller and to act on the root of a hierarchy. ctx ends the wait; a
// ctx without a deadline gets 10 s.
func (g *Group) Kill(ctx context.Context) error {
	if err := g.refuseRoot(); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	pids, err := g.Processes()
	if err != nil {
		return err
	}
	if slices.Contains(pids, os.Getpid()) {
		return fmt.Errorf("cannot kill cgroup %s: this process is in it; move it out first", g.dirs()[0])
	}
	retry := newBackoff()
	for len(pids) > 0 {
		if err := g.killOnce(pids); err != nil {
			return fmt.Errorf("kill cgroup %s: %w", g.dirs()[0], err)
		}
		if !retry.wait(ctx) {
			return fmt.Errorf("cannot kill cgroup %s: %d processes (first: %d) outlive SIGKILL, they may hang in the kernel: %w",
				g.dirs()[0], len(pids), pids[0], ctx.Err())
		}
		if pids, err = g.Processes(); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) killOnce(pids []int) error {
	if err := g.thawV1(); err != nil {
		return err
	}
	if g.unified != "" {
		err := writeFile(g.unified+"/cgroup.kill", "1")
		if err == nil && g.isV2() {
			return nil
		}
		if err != nil && !isGone(err) {
			return err
		}
	}
	return g.signalAll(pids, unix.SIGKILL)
}

// Signal sends sig once to every process that is in the group and the groups below it now; a process
// that is forked meanwhile may miss it. It refuses to signal the caller and to act on the root of a
// hierarchy. A frozen process gets the signal when it is thawed.
func (g *Group) Signal(sig unix.Signal) error {
	if err := g.refuseRoot(); err != nil {
		return err
	}
	pids, err := g.Processes()
	if err != nil {
		return err
	}
	if slices.Contains(pids, os.Getpid()) {
		return fmt.Errorf("cannot signal cgroup %s: this process is in it; move it out first", g.dirs()[0])
	}
	if err := g.signalAll(pids, sig); err != nil {
		return fmt.Errorf("signal cgroup %s: %w", g.dirs()[0], err)
	}
	return nil
}

// signalAll sends sig to those of pids that are in the group. A number may belong to another process
// by now, so each is pinned by a pidfd first and signalled only if the group still lists it after that.
func (g *Group) signalAll(pids []int, sig unix.Signal) error {
	pinned := make(map[int]int, len(pids))
	defer func() {
		for _, fd := range pinned {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if pid <= 0 {
			continue // not in our PID namespace; 0 would signal our own process group
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.EMFILE) && len(pinned) > 0 {
			if sig != unix.SIGKILL {
				return os.NewSyscallError("pidfd_open", err)
			}
			break // the rest follows in the next round
		}
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("pidfd_open", err)
		}
		pinned[pid] = fd
	}
	still, err := g.Processes()
	if err != nil {
		return err
	}
	for pid, fd := range pinned {
		if _, found := slices.BinarySearch(still, pid); !found {
			continue
		}
		err := unix.PidfdSendSignal(fd, sig, nil, 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("pidfd_send_signal", err)
		}
	}
	return nil
}

// thawV1 thaws the group's freezer and those below it. v2 needs no thawing: its frozen processes die of
// SIGKILL.
func (g *Group) thawV1() error {
	dir := g.v1["freezer"]
	if dir == "" {
		return nil
	}
	return walkDirs(dir, func(dir string) error {
		err := writeFile(dir+"/freezer.state", "THAWED")
		if isGone(err) {
			return nil
		}
		return err
	})
}

// refuseRoot guards against paths that name a whole hierarchy (cgroupsPath "/").
func (g *Group) refuseRoot() error {
	for _, dir := range g.dirs() {
		root, err := isMountPoint(dir)
		if err != nil {
			return err
		}
		if root {
			return fmt.Errorf("%s: %w", dir, ErrHierarchyRoot)
		}
	}
	return nil
}

func isMountPoint(dir string) (bool, error) {
	if dir == "/" {
		return true, nil
	}
	var st, parent unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		return false, &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if err := unix.Lstat(filepath.Dir(dir), &parent); err != nil {
		return false, &os.PathError{Op: "lstat", Path: filepath.Dir(dir), Err: err}
	}
	return st.Dev != parent.Dev, nil
}

func isDir(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, removeTimeout)
}

// backoff waits 0.5 ms, then twice as long each time up to 20 ms.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: 500 * time.Microsecond} }

// wait reports false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	b.next = min(2*b.next, 20*time.Millisecond)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
