package environment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// TestRemoveFromEveryState makes the first steps of an environment, up to each, and
// removes what there is, by every way of removing.
func TestRemoveFromEveryState(t *testing.T) {
	ways := map[string]func(*testing.T, *remains) error{
		"remove": func(t *testing.T, r *remains) error { return r.roots.Remove(t.Context(), r.name, RemoveOptions{}) },
		"kill": func(t *testing.T, r *remains) error {
			return r.roots.Remove(t.Context(), r.name, RemoveOptions{Kill: true})
		},
		"gc": func(t *testing.T, r *remains) error {
			_, err := r.roots.GC(t.Context(), GCOptions{})
			return err
		},
		"launch": func(t *testing.T, r *remains) error {
			claim, err := r.roots.Claim(t.Context(), r.name)
			if err != nil {
				return err
			}
			return errors.Join(claim.Clear(t.Context()), claim.Undo(t.Context()))
		},
	}
	for way, remove := range ways {
		for last := range steps {
			if last < len(steps)-1 && (way == "kill" || way == "launch") && last%3 != 0 {
				continue // they go the same way from here on
			}
			t.Run(way+" after "+steps[last].name, func(t *testing.T) {
				r := newRemains(t, "half")
				for _, s := range steps[:last+1] {
					s.make(r)
				}
				if err := remove(t, r); err != nil {
					t.Fatal(err)
				}
				r.nothing(RemoveOptions{})
				if err := remove(t, r); err != nil {
					t.Errorf("again: %v", err)
				}
				r.nothing(RemoveOptions{})
			})
		}
	}
}

// TestInterruptedRemoval ends removals at random moments: the last one finishes.
func TestInterruptedRemoval(t *testing.T) {
	r := newRemains(t, "interrupted")
	for _, s := range steps {
		s.make(r)
	}
	for d := time.Duration(0); d < 3*time.Millisecond; d += 200 * time.Microsecond {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		err := r.roots.Remove(ctx, r.name, RemoveOptions{})
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrAlive) {
			t.Errorf("after %s: %v", d, err)
		}
	}
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	r.nothing(RemoveOptions{})
}

func TestRemoveRefusesTheLiving(t *testing.T) {
	r := newRemains(t, "living")
	for _, s := range steps[:9] {
		s.make(r)
	}
	lock, err := lockfile.TryLock(r.paths.Lock)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(r.paths.Control)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); !errors.Is(err, ErrAlive) || !strings.Contains(err.Error(), "end it first") {
		t.Errorf("Remove() = %v", err)
	}
	if _, err := r.roots.Claim(t.Context(), r.name); !errors.Is(err, ErrExists) {
		t.Errorf("Claim() = %v", err)
	}
	if found, err := r.roots.GC(t.Context(), GCOptions{}); err != nil || len(found) != 0 {
		t.Errorf("GC() = %v, %v", found, err)
	}
	// One that is launched has no socket yet: it is waited for, for a while.
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if found, err := r.roots.GC(t.Context(), GCOptions{}); err != nil || len(found) != 0 {
		t.Errorf("GC() = %v, %v", found, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.roots.Remove(ctx, r.name, RemoveOptions{}); !errors.Is(err, ErrAlive) {
		t.Errorf("Remove() = %v", err)
	}
	// A removal by force kills, and waits for the lock.
	removed := make(chan error)
	go func() { removed <- r.roots.Remove(t.Context(), r.name, RemoveOptions{Kill: true}) }()
	if _, err := r.processes[0].Process.Wait(); err != nil {
		t.Error(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	r.nothing(RemoveOptions{})
}

func TestKeptVolumes(t *testing.T) {
	r := newRemains(t, "kept")
	for _, s := range steps {
		s.make(r)
	}
	keep := RemoveOptions{KeepVolumes: true}
	if err := r.roots.Remove(t.Context(), r.name, keep); err != nil {
		t.Fatal(err)
	}
	r.nothing(keep)
	kept := filepath.Join(r.paths.Volumes, "data", "deep", "er", "file")
	requireKept := func(after string) {
		t.Helper()
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("after %s: %v", after, err)
		}
	}
	requireKept("down --keep-volumes")
	list, err := r.roots.List()
	if err != nil || len(list) != 1 || !list[0].VolumesKept || list[0].Alive || list[0].Record != nil {
		t.Errorf("List() = %+v, %v", list, err)
	}
	if found, err := r.roots.GC(t.Context(), GCOptions{}); err != nil || len(found) != 0 {
		t.Errorf("GC() = %v, %v", found, err)
	}
	requireKept("gc")
	// The next one of that name gets them, and dies.
	for _, s := range steps[:12] {
		s.make(r)
	}
	claim, err := r.roots.Claim(t.Context(), r.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := claim.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := claim.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	requireKept("a launch that failed")
	r.write(filepath.Join(r.paths.Logs, "x"))
	found, err := r.roots.GC(t.Context(), GCOptions{})
	if err != nil || len(found) != 1 || !slices.Equal(found[0].Paths, []string{r.paths.Logs}) {
		t.Errorf("GC() = %+v, %v", found, err)
	}
	requireKept("gc of what is beside them")
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	r.nothing(RemoveOptions{})
}

func TestGC(t *testing.T) {
	r := newRemains(t, "collected")
	for _, s := range steps {
		s.make(r)
	}
	dry, err := r.roots.GC(t.Context(), GCOptions{DryRun: true})
	if err != nil || len(dry) != 1 || dry[0].Removed || len(dry[0].Cgroups) == 0 || !slices.Equal(dry[0].Paths, []string{r.paths.Dir, r.paths.Data}) ||
		!slices.Equal(dry[0].Processes, []int{r.processes[0].Process.Pid}) {
		t.Errorf("GC() = %+v, %v", dry, err)
	}
	if _, err := os.Stat(r.paths.Record); err != nil {
		t.Error(err)
	}
	// Several at once: each thing is removed by one of them.
	var collecting sync.WaitGroup
	for range 5 {
		collecting.Go(func() {
			if _, err := r.roots.GC(t.Context(), GCOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	collecting.Wait()
	r.nothing(RemoveOptions{})
}

// TestGCWithAnotherDataRoot has nothing to do there, and removes the rest.
func TestGCWithAnotherDataRoot(t *testing.T) {
	r, other := newRemains(t, "foreign"), newRemains(t, "own")
	other.roots = Roots{State: r.roots.State, Data: filepath.Join(t.TempDir(), "data")}
	other.paths, other.record.Roots = other.roots.Of(other.name), other.roots
	for _, s := range steps[:9] {
		s.make(r)
		s.make(other)
	}
	found, err := other.roots.GC(t.Context(), GCOptions{})
	if err != nil || len(found) != 1 || found[0].Name != other.name || !found[0].Removed {
		t.Errorf("GC() = %+v, %v", found, err)
	}
	if _, err := r.roots.Load(r.name); err != nil {
		t.Errorf("the other data root's: %v", err)
	}
	if err := other.roots.Remove(t.Context(), r.name, RemoveOptions{Kill: true}); !errors.Is(err, ErrOtherDataRoot) {
		t.Errorf("Remove() = %v", err)
	}
}

func TestList(t *testing.T) {
	roots := testRoots(t)
	if list, err := roots.List(); err != nil || len(list) != 0 {
		t.Errorf("List() of nothing = %v, %v", list, err)
	}
	dead, damaged, living := testRecord(roots, "dead"), testRecord(roots, "damaged"), testRecord(roots, "living")
	for _, record := range []*Record{dead, damaged, living} {
		if err := record.Write(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(damaged.Paths().Record, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(living.Paths().Control)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.MkdirAll(roots.locks(), 0o700); err != nil {
		t.Fatal(err)
	}
	starting, err := lockfile.TryLock(roots.Of("starting").Lock)
	if err != nil {
		t.Fatal(err)
	}
	defer starting.Remove()
	for _, path := range []string{roots.Of("free").Lock, filepath.Join(roots.environments(), "No Name")} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := roots.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		line := e.Name
		if e.Alive {
			line += " alive"
		}
		if e.Record != nil {
			line += " recorded"
		}
		if e.Problem != nil {
			line += " problem"
		}
		got = append(got, line)
	}
	if _, err := os.Lstat(roots.Of("free").Lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a lock that nobody holds is there: %v", err)
	}
	if want := []string{"damaged problem", "dead recorded", "living alive recorded", "starting alive"}; !slices.Equal(got, want) {
		t.Errorf("List() = %q, want %q", got, want)
	}
}

// TestAuditFindsEachKind leaves one of each and wants it named.
func TestAuditFindsEachKind(t *testing.T) {
	r := newRemains(t, "audited")
	for _, s := range steps {
		s.make(r)
	}
	mount := filepath.Join(r.paths.Data, "mount")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(mount, unix.MNT_DETACH)
	left, err := Audit(t.Context(), r.record, RemoveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[LeftoverKind]int{}
	for _, l := range left {
		kinds[l.Kind]++
		if l.Name == "" || l.String() != string(l.Kind)+" "+l.Name {
			t.Errorf("leftover %q", l)
		}
	}
	if kinds[LeftProcess] != 1 || kinds[LeftCgroup] < 1 || kinds[LeftMount] != 1 || kinds[LeftFile] != 2 || kinds[LeftLease] != 1 {
		t.Errorf("left: %v", left)
	}
	// With kept volumes the rest of the data is named by entry.
	left, err = Audit(t.Context(), r.record, RemoveOptions{KeepVolumes: true})
	if err != nil || !slices.Contains(left, Leftover{LeftFile, r.paths.Logs}) || slices.Contains(left, Leftover{LeftFile, r.paths.Volumes}) {
		t.Errorf("left: %v, %v", left, err)
	}
	// A removal cannot remove the mount, says so, and goes on from there.
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Remove() = %v", err)
	}
	if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); err != nil {
		t.Error(err)
	}
	r.nothing(RemoveOptions{})
}

// TestRemoveLeavesOtherBundles has another environment in the same store.
func TestRemoveLeavesOtherBundles(t *testing.T) {
	r := newRemains(t, "one")
	other := newRemains(t, "other")
	other.roots = r.roots
	other.paths = r.roots.Of(other.name)
	other.record.Roots = r.roots
	for _, one := range []*remains{r, other} {
		one.must(one.record.Write())
		one.bundle("web-1")
	}
	if err := r.roots.Remove(t.Context(), r.name, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(r.roots.Data)
	if err != nil {
		t.Fatal(err)
	}
	if leases, err := st.HeldBelow(other.paths.Data); err != nil || len(leases) != 1 {
		t.Errorf("leases %v, %v", leases, err)
	}
	if err := r.roots.Remove(t.Context(), other.name, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	r.nothing(RemoveOptions{})
}
