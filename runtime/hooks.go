package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// hooks are those that this package runs itself, because libcontainer runs
// them otherwise than runtime-spec 1.3 says (runtime.md, "Lifecycle"):
// poststart hooks before the program, and poststop hooks only up to the first
// that fails. They are part of the record, so that any process can run them.
type hooks struct {
	Poststart []specs.Hook `json:"poststart,omitempty"`
	Poststop  []specs.Hook `json:"poststop,omitempty"`
}

func hooksOf(spec *specs.Spec) hooks {
	if spec.Hooks == nil {
		return hooks{}
	}
	return hooks{Poststart: spec.Hooks.Poststart, Poststop: spec.Hooks.Poststop}
}

// adaptHooks leaves libcontainer the hooks of create and start. Those that it
// runs itself, outside the container, end with ctx.
func adaptHooks(ctx context.Context, list configs.Hooks) {
	delete(list, configs.Poststart)
	delete(list, configs.Poststop)
	for _, name := range []configs.HookName{configs.Prestart, configs.CreateRuntime} {
		for i, hook := range list[name] {
			if command, ok := hook.(configs.CommandHook); ok {
				list[name][i] = configs.NewFunctionHook(func(state *specs.State) error {
					return runCommand(ctx, command.Command, state)
				})
			}
		}
	}
	if len(list[configs.Prestart]) == 0 {
		return
	}
	// By the steps of the lifecycle a container is "creating" in step 2 and
	// "created" after it; prestart hooks are step 3. libcontainer says
	// "creating" to them. createRuntime hooks, which get the same state after
	// them, keep the word that runc's users know.
	list[configs.Prestart] = slices.Insert(list[configs.Prestart], 0, setHookStatus(specs.StateCreated))
	if len(list[configs.CreateRuntime]) > 0 {
		list[configs.CreateRuntime] = slices.Insert(list[configs.CreateRuntime], 0, setHookStatus(specs.StateCreating))
	}
}

func setHookStatus(status specs.ContainerState) configs.Hook {
	return configs.NewFunctionHook(func(state *specs.State) error {
		state.Status = status
		return nil
	})
}

// hookWatch ends the hooks of a container that hang: with ctx, or at a SIGTERM or
// SIGINT. Its zero value ends none.
type hookWatch struct {
	ctx     context.Context //nolint:containedctx // of the call that this container was returned by or is used in
	signals <-chan os.Signal

	stopped syscall.Signal // ended a hook; 0 if none did
	early   []os.Signal    // others that came meanwhile
}

// begin returns a context for hooks. Only the caller uses the watch until end
// has returned.
func (w *hookWatch) begin() (ctx context.Context, end func()) {
	ctx = context.Background()
	if w.ctx != nil {
		ctx = w.ctx
	}
	if w.signals == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			case sig := <-w.signals:
				if sig != syscall.SIGTERM && sig != syscall.SIGINT {
					w.early = append(w.early, sig)
					continue
				}
				w.stopped = sig.(syscall.Signal)
				cancel()
			}
		}
	}()
	return ctx, func() {
		close(over)
		<-done
		cancel()
	}
}

// runPoststart runs the poststart hooks of a container whose program runs, or
// has run already. It stops at the first that fails.
func (c *Container) runPoststart(watch *hookWatch) error {
	rec, err := c.runtime.readRecord(c.id)
	if err != nil || rec == nil || len(rec.Hooks.Poststart) == 0 {
		return err
	}
	state, err := c.hookState(specs.StateRunning)
	if err != nil {
		return err
	}
	ctx, end := watch.begin()
	defer end()
	for i, hook := range rec.Hooks.Poststart {
		if err := runHook(ctx, hook, state); err != nil {
			return fmt.Errorf("poststart hook %d, %q: %w", i, hook.Path, err)
		}
	}
	return nil
}

// destroyState lets libcontainer remove the stopped container, then runs the
// poststop hooks. One that fails is a warning, as runtime-spec says.
func (c *Container) destroyState() error {
	rec, err := c.runtime.readRecord(c.id)
	if err != nil {
		return err
	}
	if rec == nil {
		rec = &record{}
	}
	state, err := c.hookState(specs.StateStopped)
	if err != nil {
		return err
	}
	// The record goes with libcontainer's state.
	if err := rec.HostRoot.remove(); err != nil {
		return fmt.Errorf("remove mounts of container %q: %w", c.id, err)
	}
	if err := c.lc.Destroy(); err != nil {
		return fmt.Errorf("remove container %q: %w", c.id, err)
	}
	if len(rec.Hooks.Poststop) == 0 {
		return nil
	}
	ctx, end := c.hooks.begin()
	defer end()
	for i, hook := range rec.Hooks.Poststop {
		if err := runHook(ctx, hook, state); err != nil {
			c.runtime.log.Warn("a poststop hook failed", "id", c.id, "hook", i, "path", hook.Path, "error", err)
		}
	}
	return nil
}

// hookState is the state that a hook reads from its standard input. The
// process ID is that of the first process also where that has ended already,
// but not after the container's end.
func (c *Container) hookState(status specs.ContainerState) (*specs.State, error) {
	state, err := c.lc.OCIState()
	if err != nil {
		return nil, fmt.Errorf("read state of container %q for its hooks: %w", c.id, err)
	}
	state.Status = status
	state.Pid = 0
	if status == specs.StateRunning {
		base, err := c.lc.State()
		if err != nil {
			return nil, fmt.Errorf("read state of container %q for its hooks: %w", c.id, err)
		}
		state.Pid = base.InitProcessPid
	}
	return state, nil
}

// runHook runs a hook to its end, or to that of its timeout or of ctx.
func runHook(ctx context.Context, hook specs.Hook, state *specs.State) error {
	command := &configs.Command{Path: hook.Path, Args: hook.Args, Env: hook.Env}
	if hook.Timeout != nil {
		timeout := time.Duration(*hook.Timeout) * time.Second
		command.Timeout = &timeout
	}
	return runCommand(ctx, command, state)
}

// runCommand differs from libcontainer's in that ctx ends it, and in that
// nothing is left of a hook that was ended: it has a process group of its own.
func runCommand(ctx context.Context, command *configs.Command, state *specs.State) error {
	input, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if command.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, *command.Timeout,
			fmt.Errorf("hook ran past specified timeout of %.1fs", command.Timeout.Seconds()))
		defer cancel()
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, command.Path)
	cmd.Args, cmd.Env = command.Args, command.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookOutputDelay
	err = cmd.Run()
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case err != nil && cmd.ProcessState != nil:
		return fmt.Errorf("%w, stdout: %s, stderr: %s", err, stdout.String(), stderr.String())
	}
	return err
}

// hookOutputDelay is how long a hook that was ended is waited for, should
// something else hold its output.
const hookOutputDelay = time.Second
