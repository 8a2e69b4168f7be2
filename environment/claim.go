package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// claimTimeout is how long a Claim waits for whoever starts or removes an
// environment of that name, unless ctx ends earlier.
const claimTimeout = 10 * time.Second

// How often it looks, at first and at last: flock(2) has no waiting with a deadline,
// and a supervisor that is ending has let go after some tenths of a millisecond.
const (
	firstPoll = 250 * time.Microsecond
	lastPoll  = 8 * time.Millisecond
)

// Claim is the right to make or to remove the environment of one name: its lock,
// held. It ends with the process, or when its lock's last descriptor is closed: a
// supervisor that has inherited File keeps it. It is not safe for concurrent use.
type Claim struct {
	roots Roots
	name  string
	lock  *lockfile.Lock
}

// Claim takes the name of an environment that does not live. The error wraps
// ErrExists if it does, ErrInvalidName, or a cause of ctx.
func (r Roots) Claim(ctx context.Context, name string) (*Claim, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := r.Of(name).Lock
	lock, err := lockfile.TryLock(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.locks(), 0o700); err != nil {
			return nil, fmt.Errorf("make directory of locks: %w", err)
		}
		lock, err = lockfile.TryLock(path)
	}
	if errors.Is(err, lockfile.ErrHeld) {
		lock, err = r.waitForClaim(ctx, name)
	}
	if errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("cannot use the name %q: an environment of that name %w; use another by -p, or end that one: sandboxrun env down -p %s", name, err, name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock environment %q: %w", name, err)
	}
	return &Claim{roots: r, name: name, lock: lock}, nil
}

// waitForClaim waits for a lock that is held, as long as it may be somebody's who
// launches or removes, or that of a supervisor that is ending: one that can be
// reached lives.
func (r Roots) waitForClaim(ctx context.Context, name string) (*lockfile.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	pause := firstPoll
	for {
		if r.serves(ctx, name) && ctx.Err() == nil {
			return nil, ErrExists
		}
		if !wait(ctx, pause) {
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w, or another process is starting or removing it", ErrExists)
		}
		pause = min(2*pause, lastPoll)
		lock, err := lockfile.TryLock(r.Of(name).Lock)
		if !errors.Is(err, lockfile.ErrHeld) {
			return lock, err
		}
	}
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// serveTimeout is how long a supervisor may take to answer that is not taken for one that
// is being born or is dying: whoever cannot be asked is up.
const serveTimeout = time.Second

// serves tells whether a supervisor answers, or hangs. One that was killed has its
// socket until its last thread has ended: it takes connections, and closes them.
func (r Roots) serves(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	_, err := control.NewClient(r.Of(name).Control).Status(ctx)
	return !errors.Is(err, control.ErrNotRunning)
}

// answers tells whether somebody listens on the control socket. A supervisor that
// hangs does: the kernel takes the connection.
func (r Roots) answers(name string) bool {
	_, err := control.Dial(r.Of(name).Control)
	return err == nil
}

// Alive tells whether an environment lives, is being launched or removed. It is a
// snapshot. The file of a lock that nobody holds is removed: whoever was killed right
// after making it left nothing else.
func (r Roots) Alive(name string) (bool, error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	// First the socket: looking at the lock means to take it, in the way of others.
	if r.answers(name) {
		return true, nil
	}
	path := r.Of(name).Lock
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := lockfile.TryLock(path)
	switch {
	case errors.Is(err, lockfile.ErrHeld):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look at the lock of environment %q: %w", name, err)
	}
	return false, lock.Remove()
}

// File is the lock's open file, for the supervisor to inherit.
func (c *Claim) File() *os.File { return c.lock.File() }

// Release gives the claim up and leaves what there is: a supervisor that inherited
// the lock holds it alone then.
func (c *Claim) Release() error { return c.lock.Release() }
