package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/environment/probe"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// command is something to run in a container beside its program.
type command struct {
	args        []string
	environment []string
	user        string // empty: the program's
	workingDir  string // empty: the program's
	privileged  bool
	terminal    bool
}

// process is a command as the container's program would be run.
func (i *instance) process(c command) (*specs.Process, error) {
	p := *i.sandbox.bundle.Spec.Process
	p.Args, p.Terminal, p.ConsoleSize = c.args, c.terminal, nil
	p.Env = slices.Clone(p.Env)
	if c.user != "" {
		accounts, err := service.ReadAccounts(i.sandbox.rootfs())
		if err != nil {
			return nil, err
		}
		user, _, err := accounts.Identify(c.user)
		if err != nil {
			return nil, err
		}
		p.User = user
		// The user's own is looked up when there is none.
		p.Env = slices.DeleteFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "HOME=") })
		if capabilities := p.Capabilities; capabilities != nil {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: capabilities.Bounding}
			if user.UID == 0 {
				p.Capabilities.Effective, p.Capabilities.Permitted = capabilities.Bounding, capabilities.Bounding
			}
		}
	}
	for _, variable := range c.environment {
		name, _, _ := strings.Cut(variable, "=")
		p.Env = slices.DeleteFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		p.Env = append(p.Env, variable)
	}
	if c.terminal {
		p.Env = append(slices.DeleteFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }), "TERM=xterm")
	}
	if c.workingDir != "" {
		p.Cwd = filepath.Join(p.Cwd, c.workingDir)
		if filepath.IsAbs(c.workingDir) {
			p.Cwd = c.workingDir
		}
	}
	if c.privileged {
		all := service.AllCapabilities()
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all, Ambient: all}
		p.NoNewPrivileges = false
	}
	return &p, bundles.ValidateProcess(&p)
}

// execIn runs a command in a container to its end. The end of ctx kills it, and
// then its error is ctx's cause. started, if not nil, is told its process ID.
func (i *instance) execIn(ctx context.Context, container *runtime.Container, c command, streams runtime.ProcessOptions, detach bool, started func(pid int)) (int, error) {
	spec, err := i.process(c)
	if err != nil {
		return 0, err
	}
	process, err := container.Exec(runtime.ExecOptions{Process: spec, ProcessOptions: streams, Detach: detach})
	if err != nil {
		return 0, err
	}
	if started != nil {
		pid, err := process.Pid()
		if err != nil {
			i.env.log.Debug("cannot tell a process ID", "error", err)
		}
		started(pid)
	}
	type end struct {
		status runtime.ExitStatus
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := process.Wait()
		ended <- end{status, err}
	}()
	select {
	case e := <-ended:
		return e.status.Code, e.err
	case <-ctx.Done():
		process.Kill()
		<-ended
		return 0, context.Cause(ctx)
	}
}

// execute is probe.Execute, for the health check of a container.
func (r *run) execute(ctx context.Context, args []string, output *probe.Tail) (int, error) {
	return r.execIn(ctx, r.running.Container(), command{args: args}, runtime.ProcessOptions{Stdout: output, Stderr: output}, false, nil)
}

// hooks runs hooks in the container, one after the other, and returns when the last
// has ended, one has failed, or ctx ends. What then still runs ends with the
// container, at the latest: a command may hang before it can be killed.
func (r *run) hooks(ctx context.Context, kind string, hooks []plan.Hook) error {
	if len(hooks) == 0 {
		return nil
	}
	ended := make(chan error, 1)
	r.tasks.all.Go(func() { ended <- r.runHooks(ctx, kind, hooks) })
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *run) runHooks(ctx context.Context, kind string, hooks []plan.Hook) error {
	for n, h := range hooks {
		c := command{args: h.Command, environment: h.Environment, user: h.User, workingDir: h.WorkingDir, privileged: h.Privileged}
		streams := runtime.ProcessOptions{Stdout: r.output.stdout, Stderr: r.output.stderr}
		code, err := r.execIn(ctx, r.running.Container(), c, streams, false, nil)
		if err == nil && code != 0 {
			err = fmt.Errorf("it exited with code %d", code)
		}
		name := fmt.Sprintf("%s[%d]", kind, n)
		if err != nil {
			r.publish(control.Event{Kind: control.EventHook, Detail: name + ": " + r.output.redact(err.Error())})
			return fmt.Errorf("%s, %q: %w", name, h.Command[0], err)
		}
		r.publish(control.Event{Kind: control.EventHook, Detail: name + ": done"})
	}
	return nil
}

// Exec is control.Handler's.
func (s *supervisor) Exec(ctx context.Context, r control.ExecRequest, files []*os.File, started func(control.ExecStarted)) (control.ExecExit, error) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	i, container, err := s.find(r.Service, r.Index)
	if err != nil {
		return control.ExecExit{}, err
	}
	c := command{args: r.Command, environment: r.Environment, user: r.User, workingDir: r.WorkingDir, privileged: r.Privileged, terminal: r.Terminal}
	i.publish(control.Event{Kind: control.EventExec, Detail: i.output.redact(strings.Join(r.Command, " "))})
	tell := func(pid int) { started(control.ExecStarted{Pid: pid}) }
	if r.Detach {
		return control.ExecExit{}, s.execDetached(i, container, c, tell)
	}
	streams, release, err := streamsOf(r, files)
	if err != nil {
		return control.ExecExit{}, err
	}
	defer release()
	code, err := i.execIn(ctx, container, c, streams, r.Terminal, tell)
	var startErr *runtime.StartError
	if errors.As(err, &startErr) {
		return control.ExecExit{Code: startErr.ExitCode}, err
	}
	return control.ExecExit{Code: code}, err
}

// find returns the instance of a service that index, from 1, names, or the first that
// runs.
func (s *supervisor) find(service string, index int) (found *instance, container *runtime.Container, err error) {
	s.look(func() {
		for _, i := range s.services[service] {
			if found == nil && i.running != nil && (index == 0 || i.plan.Index == index) {
				found, container = i, i.running.Container()
			}
		}
	})
	switch {
	case len(s.services[service]) == 0:
		return nil, nil, fmt.Errorf("cannot exec in service %q: there is none; sandboxrun env ps lists them", service)
	case found == nil && index > 0:
		return nil, nil, fmt.Errorf("cannot exec in service %q: its instance %d does not run; sandboxrun env ps tells which do", service, index)
	case found == nil:
		return nil, nil, fmt.Errorf("cannot exec in service %q: it does not run; sandboxrun env ps tells which do", service)
	}
	return found, container, nil
}

// execDetached runs a command that nobody waits for. It ends with its container.
func (s *supervisor) execDetached(i *instance, container *runtime.Container, c command, tell func(int)) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	begun := make(chan error, 1)
	s.detached.Go(func() {
		streams := runtime.ProcessOptions{Stdin: null, Stdout: null, Stderr: null}
		_, err := i.execIn(context.Background(), container, c, streams, true, func(pid int) {
			tell(pid)
			begun <- nil
		})
		begun <- err
	})
	return <-begun
}

// streamsOf connects a command with what the client has sent. release ends what
// still reads from the client.
func streamsOf(r control.ExecRequest, files []*os.File) (_ runtime.ProcessOptions, release func(), _ error) {
	if r.Terminal {
		if len(files) != 1 {
			return runtime.ProcessOptions{}, nil, fmt.Errorf("exec with a terminal takes one descriptor, not %d", len(files))
		}
		return runtime.ProcessOptions{Console: files[0]}, func() {}, nil
	}
	const streams = 3
	if len(files) != streams {
		return runtime.ProcessOptions{}, nil, fmt.Errorf("exec takes %d descriptors, not %d", streams, len(files))
	}
	input, err := newInput(files[0])
	if err != nil {
		return runtime.ProcessOptions{}, nil, err
	}
	return runtime.ProcessOptions{Stdin: input, Stdout: files[1], Stderr: files[2]}, input.stop, nil
}

// input reads from a descriptor that is shared with the client, whose mode is not
// ours to change, and can be told to stop. The command never gets the descriptor
// itself: it could reopen it, with more rights.
type input struct {
	file       *os.File
	wake, stir *os.File // the ends of a pipe; stir is closed to stop

	mu      sync.Mutex // held while there is something to read, or is waited for
	stopped bool       // guarded by mu
}

func newInput(file *os.File) (*input, error) {
	wake, stir, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{file: file, wake: wake, stir: stir}, nil
}

// Read is io.Reader's. It ends when it is stopped.
func (i *input) Read(p []byte) (n int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return 0, io.EOF
	}
	raw, err := i.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	wake := int32(i.wake.Fd())
	controlErr := raw.Control(func(fd uintptr) { n, err = readUntil(int32(fd), wake, p) })
	return n, errors.Join(err, controlErr)
}

// readUntil reads what there is, or io.EOF when wake has ended.
func readUntil(fd, wake int32, p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}, {Fd: wake, Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return 0, io.EOF
		}
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// stop ends the reading and waits for it.
func (i *input) stop() {
	i.stir.Close()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	i.wake.Close()
}
