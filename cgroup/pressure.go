package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Resource is a resource with pressure stall information.
type Resource string

const (
	CPU    Resource = "cpu"
	Memory Resource = "memory"
	IO     Resource = "io"
)

// PressureLevel says whose stalls count.
type PressureLevel string

const (
	// SomeStalled counts time in which at least one task waited.
	SomeStalled PressureLevel = "some"
	// FullStalled counts time in which all tasks waited.
	FullStalled PressureLevel = "full"
)

// Trigger wakes its waiter when a group stalls on a resource for long enough
// (Documentation/accounting/psi.rst). It holds two descriptors until Close. Close may be called while
// others wait.
type Trigger struct {
	path   string
	mu     sync.RWMutex  // held for reading during Wait, for writing to close the descriptors
	file   int           // guarded by mu; -1 when closed
	wake   int           // eventfd that ends Wait; guarded by mu
	closed chan struct{} // closed before wake is written for the last time
	once   sync.Once
}

// PressureTrigger asks the kernel to report each time that tasks of the group stall on a resource for
// stall within window, at most once a window. window is 500 ms to 10 s and stall is not longer;
// without CAP_SYS_RESOURCE window has to be a multiple of 2 s (Linux 6.5, older kernels refuse). The
// error wraps ErrNotSupported on v1 without a v2 tree and on kernels without PSI.
func (g *Group) PressureTrigger(resource Resource, level PressureLevel, stall, window time.Duration) (*Trigger, error) {
	switch resource {
	case CPU, Memory, IO:
	default:
		return nil, invalidf("cannot watch the pressure of %q; the kernel knows cpu, memory and io", resource)
	}
	if level != SomeStalled && level != FullStalled {
		return nil, invalidf("cannot watch pressure level %q; the kernel knows some and full", level)
	}
	if window < 500*time.Millisecond || window > 10*time.Second || stall < time.Microsecond || stall > window {
		return nil, invalidf("cannot watch pressure of %s within %s; the kernel takes windows from 500ms to 10s and a stall no longer than the window", stall, window)
	}
	if g.unified == "" {
		return nil, fmt.Errorf("cannot watch pressure: cgroup v1 has none; use a hybrid or cgroup v2 host: %w", ErrNotSupported)
	}
	path := g.unified + "/" + string(resource) + ".pressure"
	return openTrigger(path, fmt.Sprintf("%s %d %d", level, stall.Microseconds(), window.Microseconds()))
}

func openTrigger(path, order string) (*Trigger, error) {
	file, err := open(path, unix.O_RDWR|unix.O_NONBLOCK)
	if err != nil {
		if isAbsent(err) {
			return nil, fmt.Errorf("cannot watch pressure: %w; boot with psi=1: %w", err, ErrNotSupported)
		}
		return nil, fmt.Errorf("open pressure trigger: %w", err)
	}
	// The kernel takes the order with its NUL.
	if _, err := unix.Write(file, append([]byte(order), 0)); err != nil {
		unix.Close(file)
		err = &os.PathError{Op: "write", Path: path, Err: err}
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, fmt.Errorf("cannot watch pressure: %w; boot with psi=1: %w", err, ErrNotSupported)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
			return nil, fmt.Errorf("cannot watch pressure by %q: %w; without CAP_SYS_RESOURCE the window has to be a multiple of 2s", order, err)
		}
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(file)
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Trigger{path: path, file: file, wake: wake, closed: make(chan struct{})}, nil
}

// Wait blocks until the trigger fires (nil), ctx ends (its error), the trigger is closed (os.ErrClosed)
// or the group is removed (ErrRemoved). It holds a thread while it waits. One goroutine at a time may
// wait, because the kernel hands each event to one.
func (t *Trigger) Wait(ctx context.Context) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.file < 0 {
		return os.ErrClosed
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		t.wakeUp()
	})
	defer func() {
		if !stop() {
			// The write has to be over before the lock is, which keeps the descriptor open.
			<-woken
			t.drain()
		}
	}()
	for {
		select {
		case <-t.closed:
			return os.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		fds := []unix.PollFd{{Fd: int32(t.file), Events: unix.POLLPRI}, {Fd: int32(t.wake), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		switch {
		case err != nil:
		case fds[0].Revents&unix.POLLERR != 0:
			return fmt.Errorf("wait for pressure in %s: %w", t.path, ErrRemoved)
		case fds[0].Revents&unix.POLLPRI != 0:
			return nil
		case fds[1].Revents != 0:
			t.drain()
		}
	}
}

// Close ends a Wait in progress and releases the descriptors, which deletes the trigger. Closing twice
// does nothing.
func (t *Trigger) Close() error {
	t.once.Do(func() {
		close(t.closed)
		t.wakeUp()
		t.mu.Lock()
		defer t.mu.Unlock()
		unix.Close(t.file)
		unix.Close(t.wake)
		t.file, t.wake = -1, -1
	})
	return nil
}

// wakeUp and drain need no lock: they run inside a Wait, which holds off the closing of the descriptor,
// or before it in Close.
func (t *Trigger) wakeUp() {
	_, _ = unix.Write(t.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (t *Trigger) drain() {
	var buf [8]byte
	_, _ = unix.Read(t.wake, buf[:])
}
