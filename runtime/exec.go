package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/internal/cleanup"
)

// ExecOptions says what to run in a container that runs already.
type ExecOptions struct {
	// Process is the program as in a spec; package bundles has checked it.
	Process *specs.Process
	ProcessOptions
	// Detach leaves the process to itself: it gets the caller's streams as they
	// are and is not waited for.
	Detach bool
	// SubCgroups are existing groups below the container's to run in, by
	// controller on v1 and under the empty key on v2.
	SubCgroups map[string]string
	// IgnorePaused starts the process in a paused container, where it runs once
	// that is resumed.
	IgnorePaused bool
}

// Exec starts another process in a running container. The error wraps
// ErrWrongState if the container does not run, and is a *StartError for a
// program that is missing or not executable.
func (c *Container) Exec(opts ExecOptions) (_ *Process, retErr error) {
	if err := c.mayExec(&opts); err != nil {
		return nil, err
	}
	c, err := c.apart()
	if err != nil {
		return nil, err
	}
	var undo cleanup.Stack
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, undo.Unwind())
		}
	}()
	process, err := c.newContainerProcess(opts.Process, &opts.ProcessOptions)
	if err != nil {
		return nil, err
	}
	process.lp.SubCgroupPaths = opts.SubCgroups
	if err := c.loadContainersSeccompLate(process, &undo); err != nil {
		return nil, fmt.Errorf("container %q: %w", c.id, err)
	}
	state, err := c.lc.State()
	if err != nil {
		return nil, fmt.Errorf("read state of container %q: %w", c.id, err)
	}
	root := "/proc/" + strconv.Itoa(state.InitProcessPid) + "/root"
	process.lp.Env = withHome(process.lp.Env, root, process.lp.UID)
	owner := supervised
	if opts.Detach {
		owner = detached
	}
	if err := c.start(process, opts.Process.Terminal, &opts.ProcessOptions, owner, &undo); err != nil {
		return nil, fmt.Errorf("container %q: %w", c.id, err)
	}
	if opts.PidFile != "" {
		if err := process.writePidFile(opts.PidFile); err != nil {
			return nil, err
		}
	}
	undo.Release()
	return process, nil
}

// apart returns the container as one to exec in. libcontainer locks a container until a process in it
// has started: where that hangs, in a frozen cgroup or because of something that the container does, nobody
// could kill the container by the handle of who made it.
func (c *Container) apart() (*Container, error) {
	if c.init == nil {
		return c, nil
	}
	loaded, err := c.runtime.Load(c.id)
	if err != nil {
		return nil, err
	}
	loaded.ofInit = c.ofInit
	return loaded, nil
}

func (c *Container) mayExec(opts *ExecOptions) error {
	if opts.Process == nil || len(opts.Process.Args) == 0 {
		return errors.New("cannot exec: no program is named")
	}
	status, err := c.status()
	if err != nil {
		return err
	}
	switch {
	case status == libcontainer.Stopped:
		return fmt.Errorf("%w: cannot exec in a stopped container", ErrWrongState)
	case status == libcontainer.Paused && !opts.IgnorePaused:
		return fmt.Errorf("%w: cannot exec in a paused container; resume it, or use --ignore-paused", ErrWrongState)
	}
	return nil
}

// Supervise passes signals on to the process until it ends, and then its last
// output. The end of ctx sends SIGTERM.
func (p *Process) Supervise(ctx context.Context, signals <-chan os.Signal, log *slog.Logger) (ExitStatus, error) {
	type end struct {
		status ExitStatus
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := p.wait()
		ended <- end{status, err}
	}()
	cancelled := ctx.Done()
	for {
		select {
		case e := <-ended:
			return e.status, errors.Join(e.err, p.streams.drain())
		case sig := <-signals:
			p.pass(sig, log)
		case <-cancelled:
			cancelled = nil
			p.pass(syscall.SIGTERM, log)
		}
	}
}

// pass sends a signal of the caller's on, unless it is meant for the caller.
func (p *Process) pass(sig os.Signal, log *slog.Logger) {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	switch number {
	case syscall.SIGWINCH:
		if p.streams.terminal != nil {
			p.streams.terminal.resize()
		}
	case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
		// Children, Go's preemption, and our own output. The program gets a
		// SIGPIPE of its own when its pipe is closed.
	default:
		if err := p.Signal(number); err != nil && !errors.Is(err, os.ErrProcessDone) {
			log.Warn("cannot pass on signal", "signal", sig, "error", err)
		}
	}
}
