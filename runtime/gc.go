package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// GCOptions says what GC takes.
type GCOptions struct {
	// Stopped takes stopped containers that belong to nobody, too.
	Stopped bool
	// DryRun finds and removes nothing.
	DryRun bool
}

// Leftover is what a dead owner left of one container.
type Leftover struct {
	ID     string `json:"id"`
	Bundle string `json:"bundle"` // "" if it was not recorded yet
	// Processes are the container's processes that are still alive.
	Processes []int `json:"processes"`
	// Cgroups are existing directories, sorted.
	Cgroups []string `json:"cgroups"`
	// State is the container's state directory.
	State string `json:"state"`
	// Removed says whether all this is gone now.
	Removed bool `json:"removed"`
}

// GC removes what dead supervisors left under the root: processes, cgroups and
// state. It never touches a container whose owner lives, or one that belongs to
// nobody; see GCOptions.Stopped. Several may run at once, beside anything else.
//
// The leftovers are valid beside an error, which joins the failed removals.
func (r *Runtime) GC(ctx context.Context, opts GCOptions) ([]Leftover, error) {
	ids, err := r.knownIDs()
	if err != nil {
		return nil, fmt.Errorf("look for leftovers: %w", r.explainRoot(err))
	}
	found := []Leftover{}
	var problems []error
	for _, id := range ids {
		leftover, err := r.collectOne(ctx, id, opts)
		if err != nil {
			problems = append(problems, fmt.Errorf("container %q: %w", id, err))
		}
		if leftover != nil {
			found = append(found, *leftover)
		}
	}
	return found, errors.Join(problems...)
}

// knownIDs returns every ID that has state or a lock, sorted.
func (r *Runtime) knownIDs() ([]string, error) {
	ids, err := subdirectories(r.containersDir())
	if err != nil {
		return nil, err
	}
	locks, err := os.ReadDir(filepath.Dir(r.lockPath("id")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, l := range locks {
		ids = append(ids, l.Name())
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !ValidID(id) })
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// collectOne returns nil if the container is nobody's leftover.
func (r *Runtime) collectOne(ctx context.Context, id string, opts GCOptions) (_ *Leftover, retErr error) {
	lock, err := r.lockFromDead(ctx, id)
	if errors.Is(err, lockfile.ErrHeld) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keepLock := true
	defer func() {
		if keepLock {
			retErr = errors.Join(retErr, lock.Release())
		} else {
			retErr = errors.Join(retErr, lock.Remove())
		}
	}()

	if _, err := os.Lstat(r.stateDir(id)); errors.Is(err, fs.ErrNotExist) {
		// Only a lock: nobody's container, or one that its owner has removed since.
		keepLock = opts.DryRun
		return nil, nil
	}
	leftover, err := r.inspect(id, opts.Stopped)
	if leftover == nil || err != nil {
		return nil, err
	}
	if opts.DryRun {
		return leftover, nil
	}
	removeCtx, cancel := context.WithTimeoutCause(ctx, removalTimeout, errRemovalTimeout)
	defer cancel()
	if err := r.removeLocked(removeCtx, id); err != nil {
		return leftover, err
	}
	keepLock = false
	leftover.Removed = true
	return leftover, nil
}

// lockFromDead takes the lock of a container that has no living owner. A
// supervisor that was killed while it forked has left its lock to the child, until
// that comes to its exec.
func (r *Runtime) lockFromDead(ctx context.Context, id string) (*lockfile.Lock, error) {
	lock, err := r.lockContainer(id)
	if !errors.Is(err, lockfile.ErrHeld) {
		return lock, err
	}
	dead, readErr := lockfile.TakenByTheDead(r.lockPath(id))
	if readErr != nil {
		return nil, readErr
	}
	if !dead {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, passingLock)
	defer cancel()
	return lockfile.Acquire(ctx, r.lockPath(id))
}

// inspect describes a container whose lock the caller holds, if it is for GC
// to take.
func (r *Runtime) inspect(id string, stopped bool) (*Leftover, error) {
	take, err := r.isAbandoned(id)
	if err == nil && !take && stopped {
		take, err = r.isStopped(id)
	}
	if !take || err != nil {
		return nil, err
	}
	leftover := &Leftover{ID: id, State: r.stateDir(id), Processes: []int{}, Cgroups: []string{}}
	rec, err := r.readRecord(id)
	if rec == nil || err != nil {
		return leftover, err
	}
	leftover.Bundle = rec.Bundle
	for _, path := range rec.Cgroups {
		if _, err := os.Lstat(path); err == nil {
			leftover.Cgroups = append(leftover.Cgroups, path)
		}
	}
	slices.Sort(leftover.Cgroups)
	if len(rec.Cgroups) == 0 {
		return leftover, r.addNamespaceProcesses(leftover)
	}
	if len(leftover.Cgroups) == 0 {
		return leftover, nil
	}
	group, err := cgroup.Open(rec.Cgroups)
	if err != nil {
		return leftover, err
	}
	processes, err := group.Processes()
	leftover.Processes = append(leftover.Processes, processes...)
	return leftover, err
}

// addNamespaceProcesses: a container without a cgroup is found by its state, if
// that was written yet.
func (r *Runtime) addNamespaceProcesses(leftover *Leftover) error {
	c, err := r.Load(leftover.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	leftover.Processes, err = c.processesWithoutCgroup()
	return err
}

func (r *Runtime) isStopped(id string) (bool, error) {
	c, err := r.Load(id)
	if err != nil {
		return false, err
	}
	status, err := c.status()
	return status == libcontainer.Stopped, err
}
