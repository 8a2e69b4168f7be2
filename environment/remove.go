package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

const (
	// removeTimeout bounds a removal whose ctx has no deadline.
	removeTimeout = 30 * time.Second
	// keepMarker in an environment's data directory says that its volumes are to stay
	// until somebody removes them on purpose.
	keepMarker = "keep-volumes"
)

// RemoveOptions say what Remove leaves and takes.
type RemoveOptions struct {
	// KeepVolumes leaves the named volumes for the next environment of that name.
	KeepVolumes bool
	// Kill ends an environment that lives, at once. Else that is an error.
	Kill bool
}

// Remove removes everything of an environment that has ended: processes, control
// groups, the host's half of egress, bundles, logs, reports, volumes, its
// directories and its lock. It needs what is on disk alone, can be repeated after
// an interruption anywhere, and succeeds where there is nothing. A supervisor that
// is ending is waited for. The error wraps ErrAlive, ErrInvalidName, ErrNewer or
// ErrOtherDataRoot.
func (r Roots) Remove(ctx context.Context, name string, opts RemoveOptions) error {
	if err := CheckName(name); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, removeTimeout)
	defer cancel()
	if opts.Kill {
		if err := r.kill(ctx, name); err != nil {
			return fmt.Errorf("kill environment %q: %w", name, err)
		}
	}
	claim, err := r.Claim(ctx, name)
	if errors.Is(err, ErrExists) {
		return fmt.Errorf("cannot remove environment %q: it %w; end it first: sandboxrun env down -p %s", name, ErrAlive, name)
	}
	if err != nil {
		return err
	}
	return claim.Remove(ctx, opts)
}

// kill ends all processes in the control groups of an environment that lives, until
// nobody holds its lock: one that is being launched may start some later.
func (r Roots) kill(ctx context.Context, name string) error {
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		record, err := r.Load(name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if record != nil {
			if err := killGroups(ctx, record); err != nil {
				return err
			}
		}
		lock, err := lockfile.TryLock(r.Of(name).Lock)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil:
			return lock.Release()
		case !errors.Is(err, lockfile.ErrHeld):
			return err
		}
		if !wait(ctx, pause) {
			return fmt.Errorf("%w although its processes are killed; whoever launches it has to end first: %w", ErrAlive, context.Cause(ctx))
		}
	}
}

func killGroups(ctx context.Context, record *Record) error {
	if len(record.Cgroups) == 0 {
		return nil
	}
	group, err := cgroup.Open(record.Cgroups)
	if err != nil {
		return err
	}
	return group.Kill(ctx)
}

// Remove is Roots.Remove for the holder of the claim. It gives the claim up; the
// lock's file is left only if something else is.
func (c *Claim) Remove(ctx context.Context, opts RemoveOptions) error {
	if err := c.clear(ctx, opts.KeepVolumes, onPurpose); err != nil {
		return errors.Join(fmt.Errorf("remove environment %q: %w", c.name, err), c.lock.Release())
	}
	return c.lock.Remove()
}

// Undo is Remove after a launch that failed: volumes that were kept by an earlier
// environment stay.
func (c *Claim) Undo(ctx context.Context) error {
	if err := c.Clear(ctx); err != nil {
		return errors.Join(err, c.lock.Release())
	}
	return c.lock.Remove()
}

// Clear removes what a dead environment of the claimed name left, and keeps the
// claim. Volumes that were kept on purpose stay. The error wraps ErrNewer.
func (c *Claim) Clear(ctx context.Context) error {
	if err := c.clear(ctx, false, inPassing); err != nil {
		return fmt.Errorf("remove what environment %q left: %w", c.name, err)
	}
	return nil
}

// intent is what volumes of an earlier KeepVolumes mean to a removal.
type intent bool

const (
	onPurpose intent = true  // they go, unless they are to be kept again
	inPassing intent = false // they stay
)

// clear takes everything but the lock. The record goes last but for the directory it
// is in: until then each step can be done again.
func (c *Claim) clear(ctx context.Context, keepVolumes bool, why intent) error {
	ctx, cancel := withTimeout(ctx, removeTimeout)
	defer cancel()
	record, err := c.roots.Load(c.name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	paths := c.roots.Of(c.name)
	if record != nil {
		if err := removeHostParts(ctx, record); err != nil {
			return err
		}
	}
	if keepVolumes {
		if err := markKept(paths); err != nil {
			return err
		}
	}
	if why == inPassing {
		keepVolumes = isKept(paths)
	}
	if err := c.removeBundles(ctx, paths); err != nil {
		return err
	}
	if err := removeData(c.roots, c.name, keepVolumes); err != nil {
		return err
	}
	return removeState(paths)
}

// removeHostParts takes what is in the kernel on the host's side. Processes are
// first: they use all the rest.
func removeHostParts(ctx context.Context, record *Record) error {
	if len(record.Cgroups) > 0 {
		group, err := cgroup.Open(record.Cgroups)
		if err != nil {
			return err
		}
		if len(group.Existing()) > 0 {
			if err := group.Kill(ctx); err != nil {
				return err
			}
			if err := group.Remove(ctx); err != nil {
				return err
			}
		}
	}
	if record.Egress != "" {
		return egress.Remove(record.Egress)
	}
	return nil
}

// removeBundles gives back what bundles hold in the store, and has unfinished ones
// swept, of which there may be no more than the store's record.
func (c *Claim) removeBundles(ctx context.Context, paths Paths) error {
	st, err := existingStore(c.roots.Data)
	if st == nil || err != nil {
		return err
	}
	// Those that were being made come first: their records may be half written.
	if _, err := build.Sweep(st); err != nil {
		return err
	}
	entries, err := os.ReadDir(paths.Bundles)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list bundles: %w", err)
	}
	for _, e := range entries {
		err := build.Remove(ctx, st, filepath.Join(paths.Bundles, e.Name()))
		// What is no bundle, or none yet, is a plain directory, removed with the others.
		if err != nil && !errors.Is(err, build.ErrNotBuilt) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	return nil
}

// existingStore returns nil where there is no store: opening one would make it.
func existingStore(dataRoot string) (*store.Store, error) {
	if _, err := os.Lstat(filepath.Join(dataRoot, "store.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	st, err := store.Open(dataRoot)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return st, nil
}

func markKept(paths Paths) error {
	if _, err := os.Lstat(paths.Volumes); err != nil {
		return nil //nolint:nilerr // without volumes there is nothing to keep
	}
	marker, err := os.OpenFile(filepath.Join(paths.Data, keepMarker), os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("note that volumes are kept: %w", err)
	}
	return marker.Close()
}

func isKept(paths Paths) bool {
	_, err := os.Lstat(filepath.Join(paths.Data, keepMarker))
	return err == nil
}

// removeData empties the data directory. What is in volumes was written by sandboxed
// programs: nothing is followed out of it.
func removeData(roots Roots, name string, keepVolumes bool) error {
	all, err := os.OpenRoot(roots.dataEnvironments())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory of environments: %w", err)
	}
	defer all.Close()
	if !keepVolumes {
		if err := all.RemoveAll(name); err != nil {
			return fmt.Errorf("remove data of environment: %w", err)
		}
		return nil
	}
	entries, err := os.ReadDir(roots.Of(name).Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list data of environment: %w", err)
	}
	for _, e := range entries {
		if isVolumeEntry(e.Name()) {
			continue
		}
		if err := all.RemoveAll(filepath.Join(name, e.Name())); err != nil {
			return fmt.Errorf("remove data of environment: %w", err)
		}
	}
	return nil
}

// isVolumeEntry names what is left in a data directory whose volumes are kept.
func isVolumeEntry(name string) bool { return name == "volumes" || name == keepMarker }

func removeState(paths Paths) error {
	entries, err := os.ReadDir(paths.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list state of environment: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(paths.Dir, e.Name())
		if path == paths.Record {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove state of environment: %w", err)
		}
	}
	if err := os.RemoveAll(paths.Record); err != nil {
		return fmt.Errorf("remove record of environment: %w", err)
	}
	if err := os.Remove(paths.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state of environment: %w", err)
	}
	return nil
}

func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
