package runtime

import (
	"fmt"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
)

// Pause freezes every process of a running or created container. The error
// wraps ErrPaused if that was done already, and ErrNotRunning if the container
// has stopped.
func (c *Container) Pause() error {
	fresh, status, err := c.reload()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Paused:
		return fmt.Errorf("cannot pause container %q: %w", c.id, ErrPaused)
	case libcontainer.Stopped:
		return fmt.Errorf("cannot pause container %q: %w", c.id, ErrNotRunning)
	}
	if err := fresh.lc.Pause(); err != nil {
		return c.explainNoCgroup("pause", fmt.Errorf("pause container %q: %w", c.id, err))
	}
	return nil
}

// Resume lets the processes of a paused container go on. The error wraps
// ErrNotPaused if it is not paused.
func (c *Container) Resume() error {
	fresh, status, err := c.reload()
	if err != nil {
		return err
	}
	if status != libcontainer.Paused {
		return fmt.Errorf("cannot resume container %q: %w", c.id, ErrNotPaused)
	}
	if err := fresh.lc.Resume(); err != nil {
		return fmt.Errorf("resume container %q: %w", c.id, err)
	}
	return nil
}

// status reads the present status. libcontainer's handle remembers the status
// that it saw last and takes only some changes from there for possible: a
// created container that was paused and resumed by somebody else is none of
// them, so a handle that refuses is asked once more without its memory.
func (c *Container) status() (libcontainer.Status, error) {
	status, err := c.lc.Status()
	if err != nil {
		_, status, err = c.reload()
	}
	// On v2 a frozen group stays so when its processes have been killed.
	if err == nil && status == libcontainer.Paused {
		if probe := c.lc.Signal(syscall.Signal(0)); probe != nil && foundNoProcess(probe) {
			return libcontainer.Stopped, nil
		}
	}
	return status, err
}

// reload returns a handle that remembers nothing, with the present status.
func (c *Container) reload() (*Container, libcontainer.Status, error) {
	fresh, err := c.runtime.Load(c.id)
	if err != nil {
		return nil, 0, err
	}
	status, err := fresh.lc.Status()
	if err != nil {
		return nil, 0, fmt.Errorf("read status of container %q: %w", c.id, err)
	}
	return fresh, status, nil
}
