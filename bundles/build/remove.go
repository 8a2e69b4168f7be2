package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// Remove removes the bundle in dir, which was built with the store st: its mount, its directory with volumes and all
// that the sandbox wrote, its secrets and its hold on the store's layers. The
// error wraps ErrNotBuilt, ErrNewer, ErrInUse or fs.ErrNotExist. A removal that is
// killed is finished by the next Sweep.
func Remove(ctx context.Context, st *store.Store, dir string) error {
	r, err := LoadOwn(dir)
	if err != nil {
		return err
	}
	return withLock(ctx, st, r, func(p places) error {
		if err := unused(dir); err != nil {
			return fmt.Errorf("cannot remove bundle %q: %w", dir, err)
		}
		i := intent{Version: recordVersion, ID: r.ID, Dir: dir, StateRoot: r.StateRoot, Removing: true}
		err := i.write(p)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			// A removal is how people make room.
			return clearUnnoted(st, i, p)
		}
		if err != nil {
			return err
		}
		return clear(st, i, p)
	})
}

// clearUnnoted is clear of a bundle without an intent on disk: what its record leads to
// goes before the record, so that Remove can be called again after any interruption.
func clearUnnoted(st *store.Store, i intent, p places) error {
	// Mounted layers must not lose their lease.
	if err := overlay.Remove(filepath.Join(i.Dir, rootfsDir), "", ""); err != nil {
		return fmt.Errorf("remove bundle %q: %w", i.Dir, err)
	}
	if err := clearElsewhere(st, i.ID, p); err != nil {
		return err
	}
	if err := clearDir(i.Dir); err != nil {
		return fmt.Errorf("remove bundle %q: %w", i.Dir, err)
	}
	return nil
}

// withLock does something with a bundle that nobody else does anything with.
func withLock(ctx context.Context, st *store.Store, r Record, do func(places) error) error {
	p := placesOf(st.Root(), r.StateRoot, r.ID)
	if err := os.MkdirAll(p.unfinished, 0o700); err != nil {
		return fmt.Errorf("make directory of bundles: %w", err)
	}
	lock, err := lockfile.Acquire(ctx, p.lock)
	if err != nil {
		return fmt.Errorf("lock bundle: %w", err)
	}
	return errors.Join(do(p), lock.Remove())
}

// unused refuses a bundle whose root filesystem is the root of a process. The
// kernel would let go of the mount all the same, but what the process writes would
// be gone.
func unused(dir string) error {
	var own unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, rootfsDir), &own); err != nil {
		return nil //nolint:nilerr // without a root there is nothing in use
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		var root unix.Stat_t
		if err := unix.Stat("/proc/"+e.Name()+"/root", &root); err != nil {
			continue // gone, or not ours to look at
		}
		if root.Dev == own.Dev && root.Ino == own.Ino {
			return fmt.Errorf("%w by process %s; end its container first", ErrInUse, e.Name())
		}
	}
	return nil
}

// clear removes what an intent names, in an order in which it can be called again
// after having been interrupted anywhere. The caller has the bundle's lock.
func clear(st *store.Store, i intent, p places) error {
	dirs := []string{i.Staging}
	if i.Removing {
		dirs = []string{i.Dir}
	} else if r, err := Load(i.Dir); err == nil && r.ID == i.ID {
		dirs = append(dirs, i.Dir) // it had its name already when it failed
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := clearDir(dir); err != nil {
			return fmt.Errorf("remove bundle %q: %w", dir, err)
		}
	}
	if err := clearElsewhere(st, i.ID, p); err != nil {
		return err
	}
	if err := os.Remove(p.intent); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove intent: %w", err)
	}
	return nil
}

// clearElsewhere removes what a bundle has outside its directory.
func clearElsewhere(st *store.Store, id string, p places) error {
	if err := os.RemoveAll(p.secrets); err != nil {
		return fmt.Errorf("remove secrets: %w", err)
	}
	// The directory of all secrets goes with the last one.
	if err := os.Remove(filepath.Dir(p.secrets)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("remove directory of secrets: %w", err)
	}
	if err := os.RemoveAll(p.own); err != nil {
		return fmt.Errorf("remove files of bundle: %w", err)
	}
	return st.Release(id)
}

// clearDir unmounts a bundle's root and removes its directory, the record last:
// what is left of an interrupted removal can be told to be ours.
func clearDir(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := overlay.Remove(filepath.Join(dir, rootfsDir), "", ""); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == RecordFile {
			continue
		}
		if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	if err := root.RemoveAll(RecordFile); err != nil {
		return err
	}
	return os.Remove(dir)
}

// Sweep finishes what killed builds and removals began. A build that had given
// the bundle its name is completed, any other is undone. What somebody works on is
// left alone. It returns the paths that it removed.
func Sweep(st *store.Store) ([]string, error) {
	unfinished := placesOf(st.Root(), "", "").unfinished
	entries, err := os.ReadDir(unfinished)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("look for unfinished bundles: %w", err)
	}
	var removed []string
	var problems []error
	for _, e := range entries {
		id, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock || !isID(id) {
			continue // an intent has its lock beside it
		}
		dir, err := sweepOne(st, unfinished, id)
		problems = append(problems, err)
		if dir != "" {
			removed = append(removed, dir)
		}
	}
	return removed, errors.Join(problems...)
}

func sweepOne(st *store.Store, unfinished, id string) (removed string, _ error) {
	lock, err := lockfile.TryLock(filepath.Join(unfinished, id+".lock"))
	if errors.Is(err, lockfile.ErrHeld) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("lock unfinished bundle: %w", err)
	}
	if err := removeHalves(unfinished, id); err != nil {
		return "", errors.Join(err, lock.Release())
	}
	data, err := readSmall(filepath.Join(unfinished, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", lock.Remove()
	}
	var i intent
	if err == nil {
		err = json.Unmarshal(data, &i)
	}
	if err == nil && i.Version > recordVersion {
		err = ErrNewer
	}
	if err != nil || i.ID != id {
		return "", errors.Join(fmt.Errorf("read intent of bundle %s: %w", id, errors.Join(err)), lock.Release())
	}
	p := placesOf(st.Root(), i.StateRoot, id)
	if r, err := Load(i.Dir); err == nil && r.ID == id && !i.Removing {
		return "", errors.Join(complete(st, r, i), os.Remove(p.intent), lock.Remove())
	}
	if err := clear(st, i, p); err != nil {
		return "", errors.Join(err, lock.Release())
	}
	return i.Dir, lock.Remove()
}

// removeHalves removes an intent that was killed before it had its name.
func removeHalves(unfinished, id string) error {
	entries, err := os.ReadDir(unfinished)
	if err != nil {
		return fmt.Errorf("look for unfinished intents: %w", err)
	}
	var problems []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+id+".json.") {
			problems = append(problems, os.Remove(filepath.Join(unfinished, e.Name())))
		}
	}
	return errors.Join(problems...)
}

// complete does what was left of a build whose bundle had its name.
func complete(st *store.Store, r Record, i intent) error {
	if r.Host {
		return nil
	}
	layers, err := storedLayers(st, r)
	if err != nil {
		return err
	}
	return pin(st, r, i.Dir, r.Digest, layers)
}
