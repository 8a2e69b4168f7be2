package runtime

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Running is a container that Start has started. Its methods are safe for
// concurrent use.
type Running struct {
	supervisor *supervisor
	stops      chan stopRequest
	ended      chan struct{}
	err        error // valid when ended is closed
}

type stopRequest struct {
	signal syscall.Signal
	grace  time.Duration
}

// Start is Run that returns when the program runs; Wait then gives what Run
// returns. Everything else is as with Run: the end of ctx stops the container
// also when it runs.
//
// The Running is never nil, so that Wait tells of a failed start too. It has ended
// already if there is an error, and also without one if the container was stopped
// before its program ran. The caller must call Wait.
func (r *Runtime) Start(ctx context.Context, opts RunOptions) (*Running, error) {
	r.settle()
	s := r.newSupervisor(&opts)
	running := make(chan struct{})
	c := &Running{supervisor: s, stops: make(chan stopRequest), ended: make(chan struct{})}
	s.running, s.stops = running, c.stops
	go func() {
		defer close(c.ended)
		c.err = s.run(ctx)
	}()
	select {
	case <-running:
		return c, nil
	case <-c.ended:
		// It may have run and ended meanwhile.
		select {
		case <-running:
			return c, nil
		default:
			return c, c.err
		}
	}
}

// Container returns the container, nil for a start that failed.
func (c *Running) Container() *Container { return c.supervisor.container }

// Ended is closed when the container has ended and everything of it is removed.
func (c *Running) Ended() <-chan struct{} { return c.ended }

// Wait waits for the end and returns what Run does.
func (c *Running) Wait() (*Report, error) {
	<-c.ended
	return c.supervisor.report, c.err
}

// Stop sends a signal to the program, and kills the container if it has not ended
// after grace, or at once if that is not positive. A program that neither handles
// nor ignores the signal ends by it, also as PID 1. A later Stop takes the place
// of an earlier one. Stop does not wait for the end.
func (c *Running) Stop(signal syscall.Signal, grace time.Duration) {
	select {
	case c.stops <- stopRequest{signal, grace}:
	case <-c.ended:
	}
}

// carryOut does what Running.Stop asks for.
func (s *supervisor) carryOut(request stopRequest, grace *time.Timer) {
	if request.grace <= 0 {
		s.end(ReasonKilled)
		return
	}
	s.stop(request.signal)
	grace.Reset(request.grace)
}

// Kill ends the process, and what is in its process group, and cuts its output
// off, so that Wait returns at once whatever it has left behind in the container. It
// is safe for concurrent use with Wait, and does nothing to a process that has
// ended.
func (p *Process) Kill() {
	defer p.streams.cut()
	// Every process of libcontainer's leads a session of its own (nsexec.c).
	if pid, err := p.Pid(); err == nil && p.Signal(0) == nil {
		unix.Kill(-pid, unix.SIGKILL) //nolint:errcheck // it may have left the group
	}
	p.Signal(sigKill) //nolint:errcheck // it has ended
}

// park waits for the end of a child and leaves its status. The goroutine waits at
// Go's poller and keeps no thread: a pidfd is readable when the process has ended
// (pidfd_open(2)).
func park(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	err = raw.Read(func(uintptr) (done bool) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		waitErr = os.NewSyscallError("waitid", err)
		return err != nil || siginfoPid(&info) != 0
	})
	if err != nil {
		return err
	}
	return waitErr
}
