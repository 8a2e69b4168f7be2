package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Remove removes the group's directories and all groups below them, leaves first, in every hierarchy. It
// succeeds when there is nothing to remove. While the kernel says EBUSY, because processes that got
// SIGKILL are still going, it tries again until ctx ends (10 s for a ctx without a deadline); the
// error then wraps ErrBusy. It kills nothing: call Kill first.
func (g *Group) Remove(ctx context.Context) error {
	return removeDirs(ctx, g.dirs())
}

func removeDirs(ctx context.Context, dirs []string) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	retry := newBackoff()
	for {
		var busy []string
		for _, dir := range dirs {
			err := removeDir(dir)
			if errors.Is(err, unix.EBUSY) {
				busy = append(busy, dir)
				continue
			}
			if err != nil {
				return err
			}
		}
		if len(busy) == 0 {
			return nil
		}
		if !retry.wait(ctx) {
			return busyError(busy[0], ctx.Err())
		}
		dirs = busy
	}
}

// removeDir tries the directory alone first: most groups have none below them.
func removeDir(dir string) error {
	err := rmdir(dir)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	root, err := isMountPoint(dir)
	if err != nil {
		return err
	}
	if root {
		return fmt.Errorf("remove cgroup %s: %w", dir, ErrHierarchyRoot)
	}
	children, err := childDirs(dir)
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	for _, child := range children {
		if err := removeDir(child); err != nil {
			return err
		}
	}
	return rmdir(dir)
}

func rmdir(dir string) error {
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
			return nil
		case errors.Is(err, unix.EINTR):
		default:
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}

func busyError(dir string, cause error) error {
	var pids []int
	err := walkDirs(dir, func(dir string) error {
		var err error
		pids, err = appendProcs(pids, dir)
		return err
	})
	if err != nil || len(pids) == 0 {
		return fmt.Errorf("cannot remove cgroup %s: the kernel still uses it (%w); try again later: %w", dir, cause, ErrBusy)
	}
	return fmt.Errorf("cannot remove cgroup %s: %d processes are in it, first %d (%w); kill them: %w", dir, len(pids), pids[0], cause, ErrBusy)
}
