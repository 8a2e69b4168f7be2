package runtime

import (
	"fmt"
	"slices"
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

// adaptHooks leaves libcontainer the hooks of create and start.
func adaptHooks(list configs.Hooks) {
	delete(list, configs.Poststart)
	delete(list, configs.Poststop)
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

// runPoststart runs the poststart hooks of a container whose program runs, or
// has run already. It stops at the first that fails.
func (c *Container) runPoststart() error {
	rec, err := c.runtime.readRecord(c.id)
	if err != nil || rec == nil || len(rec.Hooks.Poststart) == 0 {
		return err
	}
	state, err := c.hookState(specs.StateRunning)
	if err != nil {
		return err
	}
	for i, hook := range rec.Hooks.Poststart {
		if err := runHook(hook, state); err != nil {
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
	for i, hook := range rec.Hooks.Poststop {
		if err := runHook(hook, state); err != nil {
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

// runHook runs a hook to its end, or to its timeout.
func runHook(hook specs.Hook, state *specs.State) error {
	command := &configs.Command{Path: hook.Path, Args: hook.Args, Env: hook.Env}
	if hook.Timeout != nil {
		timeout := time.Duration(*hook.Timeout) * time.Second
		command.Timeout = &timeout
	}
	return command.Run(state)
}
