// Package lockfile gives locks between processes that end with their holder:
// flock(2) on a file that is made on demand and removed with the last use.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld is returned by TryLock while another process, or another Lock of
// this one, holds the file.
var ErrHeld = errors.New("lock is held")

// pollInterval is how often Acquire looks again. flock has no waiting with a
// deadline, and a blocked thread could not be called back.
const pollInterval = 5 * time.Millisecond

// Lock is a held lock. The kernel releases it when the process dies, however
// it dies. It is not safe for concurrent use.
type Lock struct {
	file *os.File
}

// TryLock takes the lock at path, making the file (mode 0600) if it is
// missing. It returns ErrHeld at once if somebody has it.
func TryLock(path string) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrHeld
			}
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		current, err := isAt(f, path)
		if err != nil {
			f.Close()
			return nil, err
		}
		if current {
			return &Lock{file: f}, nil
		}
		// The holder before us removed the file after we had opened it: what
		// we locked is no longer what others will open.
		f.Close()
	}
}

// Acquire is TryLock that waits for the holder until ctx ends. Its error then
// wraps both ErrHeld and the context's.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	lock, err := TryLock(path)
	if !errors.Is(err, ErrHeld) {
		return lock, err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrHeld, context.Cause(ctx))
		case <-tick.C:
		}
		lock, err := TryLock(path)
		if !errors.Is(err, ErrHeld) {
			return lock, err
		}
	}
}

// File is the open file that holds the lock, to be passed to a child: the lock is
// held until the last descriptor of it is closed. It stays the Lock's to close.
func (l *Lock) File() *os.File { return l.file }

// Release gives the lock up and leaves the file.
func (l *Lock) Release() error { return l.file.Close() }

// Remove deletes the file while the lock is still held, then gives it up.
func (l *Lock) Remove() error {
	err := os.Remove(l.file.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}

func isAt(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(opened, there), nil
}
