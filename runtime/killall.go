package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// KillAll sends a signal to every process of the container, those of exec and
// those that outlived its first process included. SIGKILL is repeated until
// none is left or ctx ends. The error wraps ErrNotRunning if there is none.
//
// Processes are found by the container's cgroup, or by its PID namespace where it
// was made without one.
func (c *Container) KillAll(ctx context.Context, sig syscall.Signal) error {
	group, err := c.openGroup()
	if err != nil {
		return err
	}
	if group == nil {
		return c.signalNamespace(sig)
	}
	pids, err := group.Processes()
	if err != nil {
		return fmt.Errorf("list processes of container %q: %w", c.id, err)
	}
	if len(pids) == 0 {
		// Nobody, or processes that were never put there.
		return c.Kill(sig)
	}
	if sig == sigKill {
		err = group.Kill(ctx)
	} else {
		err = group.Signal(sig)
	}
	if err != nil {
		return fmt.Errorf("send %s to all processes of container %q: %w", sig, c.id, err)
	}
	return nil
}

// signalNamespace: the kernel passes SIGKILL of the first process on to all. In a
// PID namespace that is not the container's alone, only the first process is
// known to be the container's.
func (c *Container) signalNamespace(sig syscall.Signal) error {
	if sig == sigKill || !c.hasOwnPIDNamespace() {
		return c.Kill(sig)
	}
	pids, err := c.processesWithoutCgroup()
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return c.Kill(sig)
	}
	var failed error
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			failed = errors.Join(failed, os.NewSyscallError("kill", err))
		}
	}
	if failed != nil {
		return fmt.Errorf("send %s to all processes of container %q: %w", sig, c.id, failed)
	}
	return nil
}

// openGroup returns nil without an error if the container has no cgroup.
func (c *Container) openGroup() (*cgroup.Group, error) {
	paths := c.cgroups
	if paths == nil {
		rec, err := c.runtime.readRecord(c.id)
		if rec == nil || err != nil {
			return nil, err
		}
		paths = rec.Cgroups
	}
	if len(paths) == 0 {
		return nil, nil
	}
	group, err := cgroup.Open(paths)
	if err != nil {
		return nil, fmt.Errorf("open cgroup of container %q: %w", c.id, err)
	}
	return group, nil
}

// Processes returns the process IDs of the container's processes as the caller
// sees them; an empty list if there is none.
func (c *Container) Processes() ([]int, error) {
	group, err := c.openGroup()
	if err != nil {
		return nil, err
	}
	if group == nil {
		return c.processesWithoutCgroup()
	}
	pids, err := c.lc.Processes()
	if err != nil {
		return nil, c.explainNoCgroup("list the processes of", fmt.Errorf("list processes of container %q: %w", c.id, err))
	}
	return append([]int{}, pids...), nil
}
