package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// GCOptions say what GC does.
type GCOptions struct {
	// DryRun finds and removes nothing.
	DryRun bool
}

// Collected is what was left of one dead environment.
type Collected struct {
	Name string `json:"name"`
	// Processes that are still alive in its control groups, Cgroups that are there, and
	// Paths: directories of state and data.
	Processes []int    `json:"processes"`
	Cgroups   []string `json:"cgroups"`
	Paths     []string `json:"paths"`
	// Removed says whether all this is gone now.
	Removed bool `json:"removed"`
}

// GC removes what dead environments left. It touches none that lives, is being
// launched or removed, or has another data root, nor volumes that were kept on purpose. Several may run at
// once, beside anything else. What was found is valid beside an error, which joins
// the failed removals.
func (r Roots) GC(ctx context.Context, opts GCOptions) ([]Collected, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	found := []Collected{}
	var problems []error
	for _, name := range names {
		if ctx.Err() != nil {
			return found, errors.Join(append(problems, context.Cause(ctx))...)
		}
		c, err := r.collect(ctx, name, opts)
		if err != nil {
			problems = append(problems, err)
		}
		if c != nil {
			found = append(found, *c)
		}
	}
	return found, errors.Join(problems...)
}

// collect returns nil if nothing of the environment is to go.
func (r Roots) collect(ctx context.Context, name string, opts GCOptions) (_ *Collected, retErr error) {
	if r.serves(ctx, name) {
		return nil, nil // its lock need not even be tried
	}
	if err := os.MkdirAll(r.locks(), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of locks: %w", err)
	}
	lock, err := r.lockOfDead(ctx, name)
	if errors.Is(err, lockfile.ErrHeld) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock environment %q: %w", name, err)
	}
	claim := &Claim{roots: r, name: name, lock: lock}
	found, err := r.inspect(name)
	if errors.Is(err, ErrOtherDataRoot) {
		return nil, lock.Remove()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at environment %q: %w", name, err), lock.Release())
	}
	switch {
	case found == nil:
		return nil, lock.Remove()
	case opts.DryRun:
		return found, lock.Release()
	}
	if err := claim.Undo(ctx); err != nil {
		return found, err
	}
	found.Removed = true
	return found, nil
}

// dyingTimeout is how long a supervisor that was killed may hold its lock after it has
// closed its socket.
const dyingTimeout = 200 * time.Millisecond

// lockOfDead takes the lock of an environment whose supervisor does not serve. The error
// wraps lockfile.ErrHeld if somebody launches or removes it.
func (r Roots) lockOfDead(ctx context.Context, name string) (*lockfile.Lock, error) {
	paths := r.Of(name)
	ctx, cancel := context.WithTimeout(ctx, dyingTimeout)
	defer cancel()
	for {
		lock, err := lockfile.TryLock(paths.Lock)
		if !errors.Is(err, lockfile.ErrHeld) {
			return lock, err
		}
		// One that is being born has no socket yet, or one that serves.
		if _, statErr := os.Lstat(paths.Control); statErr != nil {
			return nil, err
		}
		if !wait(ctx, lastPoll) {
			return nil, err
		}
	}
}

// inspect returns nil if there is nothing but kept volumes.
func (r Roots) inspect(name string) (*Collected, error) {
	paths := r.Of(name)
	found := &Collected{Name: name, Processes: []int{}, Cgroups: []string{}, Paths: []string{}}
	for _, path := range []string{paths.Dir, paths.Data} {
		if _, err := os.Lstat(path); err == nil {
			found.Paths = append(found.Paths, path)
		}
	}
	if isKept(paths) {
		beside, err := besideVolumes(paths)
		if err != nil {
			return nil, err
		}
		found.Paths = append(found.Paths[:len(found.Paths)-1], beside...)
	}
	if len(found.Paths) == 0 {
		return nil, nil
	}
	record, err := r.Load(name)
	if errors.Is(err, ErrNotFound) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	if len(record.Cgroups) == 0 {
		return found, nil
	}
	group, err := cgroup.Open(record.Cgroups)
	if err != nil {
		return nil, err
	}
	found.Cgroups = append(found.Cgroups, group.Existing()...)
	processes, err := group.Processes()
	found.Processes = append(found.Processes, processes...)
	return found, err
}

// besideVolumes returns what is in a data directory beside kept volumes.
func besideVolumes(paths Paths) ([]string, error) {
	entries, err := os.ReadDir(paths.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var beside []string
	for _, e := range entries {
		if !isVolumeEntry(e.Name()) {
			beside = append(beside, filepath.Join(paths.Data, e.Name()))
		}
	}
	return beside, nil
}
