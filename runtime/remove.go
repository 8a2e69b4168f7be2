package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// Delete removes a container and all it has on the host. Without force the
// container must be stopped, or created and never started; the error wraps
// ErrWrongState otherwise. With force its processes are killed first, and a
// container that does not exist is no error.
//
// A container that is supervised by a living process is removed by that; Delete
// waits for it until ctx ends.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	c, err := r.Load(id)
	if errors.Is(err, ErrNotFound) {
		if rest := r.deleteRemains(ctx, id); rest != nil {
			return rest
		}
		if force {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if err := c.mayDelete(force); err != nil {
		return err
	}
	if err := c.killAndWait(ctx); err != nil {
		return err
	}
	lock, err := lockfile.Acquire(ctx, r.lockPath(id))
	if err != nil {
		return fmt.Errorf("wait for the owner of container %q: %w", id, err)
	}
	return errors.Join(r.removeLocked(ctx, id), lock.Remove())
}

func (c *Container) mayDelete(force bool) error {
	if force {
		return nil
	}
	status, err := c.status()
	if err != nil {
		return err
	}
	if status != libcontainer.Stopped && status != libcontainer.Created {
		return fmt.Errorf("%w: cannot delete container %s that is not stopped: %s", ErrWrongState, c.id, status)
	}
	return nil
}

// deleteRemains removes what an interrupted create left. A create that goes on
// meanwhile is left alone.
func (r *Runtime) deleteRemains(ctx context.Context, id string) error {
	if _, err := os.Lstat(r.stateDir(id)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := r.lockContainer(id)
	if errors.Is(err, lockfile.ErrHeld) {
		return fmt.Errorf("%w: container %s is being created", ErrWrongState, id)
	}
	if err != nil {
		return fmt.Errorf("lock container %q: %w", id, err)
	}
	return errors.Join(r.removeLocked(ctx, id), lock.Remove())
}

// removeLocked removes whatever exists of a container, from what is on disk
// alone. It is idempotent. The caller holds the lock of the ID.
func (r *Runtime) removeLocked(ctx context.Context, id string) error {
	rec, err := r.readRecord(id)
	if errors.Is(err, ErrNewerState) {
		return err
	}
	c, err := r.Load(id)
	if err == nil {
		if err := c.destroy(ctx); err != nil {
			return err
		}
	}
	// Where libcontainer's state was never written, or tells less than the
	// record: the rest by the record.
	if rec != nil {
		if err := errors.Join(removeCgroups(ctx, rec.Cgroups), rec.HostRoot.remove()); err != nil {
			return fmt.Errorf("container %q: %w", id, err)
		}
	}
	if err := os.RemoveAll(r.stateDir(id)); err != nil {
		return fmt.Errorf("remove state of container %q: %w", id, err)
	}
	return nil
}

func removeCgroups(ctx context.Context, paths map[string]string) error {
	if len(paths) == 0 {
		return nil
	}
	group, err := cgroup.Open(paths)
	if err != nil {
		return fmt.Errorf("open cgroups: %w", err)
	}
	if err := group.Kill(ctx); err != nil {
		return fmt.Errorf("kill what is left in the cgroups: %w", err)
	}
	if err := group.Remove(ctx); err != nil {
		return fmt.Errorf("remove cgroups: %w", err)
	}
	return nil
}

// removeAbandoned removes a container whose owner is dead and says whether it
// did: it leaves a container that belongs to nobody. The caller holds the lock
// of the ID.
func (r *Runtime) removeAbandoned(ctx context.Context, id string) (bool, error) {
	abandoned, err := r.isAbandoned(id)
	if !abandoned || err != nil {
		return false, err
	}
	return true, r.removeLocked(ctx, id)
}

// isAbandoned reports whether a container whose lock is free has lost its
// owner: it was supervised, or its creation was interrupted before
// libcontainer had written a state from which it could be deleted.
func (r *Runtime) isAbandoned(id string) (bool, error) {
	rec, err := r.readRecord(id)
	if err != nil {
		return false, err
	}
	if rec == nil || !rec.Detached {
		return true, nil
	}
	_, err = r.Load(id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return false, err
}

func (c *Container) removeLock() error {
	lock := c.lock
	c.lock = nil
	if lock == nil {
		return nil
	}
	return lock.Remove()
}
