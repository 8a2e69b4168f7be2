package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func TestPrune(t *testing.T) {
	s := open(t)
	image(t, s, "kept", "shared", "a")
	leased := image(t, s, "leased", "shared", "b")
	image(t, s, "gone", "c")
	holder := t.TempDir()
	img, err := s.Image("leased", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Lease("bundle", holder, leased, img.Layers); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"leased", "gone"} {
		if err := s.Untag(name); err != nil {
			t.Fatal(err)
		}
	}
	planned, err := s.Prune(t.Context(), store.PruneOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	usage, err := s.Usage(t.Context())
	if err != nil || usage.Images != 1 || usage.Leases != 1 || usage.Layers.Number != 4 || usage.Reclaimable.Number != 4 {
		t.Errorf("got %+v, %v", usage, err)
	}
	pruned, err := s.Prune(t.Context(), store.PruneOptions{})
	if err != nil || pruned.Layers.Number != 1 || pruned.Blobs.Number != 3 || pruned.Layers != planned.Layers {
		t.Errorf("got %+v, %v, planned %+v", pruned, err, planned)
	}
	requireSound(t, s)
	if _, err := s.Image(string(leased), ""); err != nil {
		t.Errorf("leased: %v", err)
	}
	if err := os.Remove(holder); err != nil {
		t.Fatal(err)
	}
	pruned, err = s.Prune(t.Context(), store.PruneOptions{})
	if err != nil || pruned.Leases.Number != 1 || pruned.Layers.Number != 1 {
		t.Errorf("holder gone: got %+v, %v", pruned, err)
	}
	if _, err := s.Image("kept", ""); err != nil {
		t.Errorf("kept: %v", err)
	}
	pruned, err = s.Prune(t.Context(), store.PruneOptions{Images: true})
	if err != nil || fmt.Sprint(pruned.References) != "[kept]" || pruned.Layers.Number != 2 {
		t.Errorf("images: got %+v, %v", pruned, err)
	}
	for _, dir := range []string{"blobs/sha256", "layers", "images", "leases", "tmp", "partial"} {
		requireEmpty(t, s, dir)
	}
}

func TestPruneDropsPackedLayers(t *testing.T) {
	s := open(t)
	image(t, s, "x", "a")
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	pruned, err := s.Prune(t.Context(), store.PruneOptions{PackedLayers: true})
	if err != nil || pruned.Blobs.Number != 1 || pruned.Layers.Number != 0 {
		t.Errorf("got %+v, %v", pruned, err)
	}
	if _, err := s.Image("x", ""); err != nil {
		t.Error(err)
	}
	requireSound(t, s)
}

func TestWritersKeepPruneOut(t *testing.T) {
	s := open(t)
	w, err := s.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Prune(soon, store.PruneOptions{}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil {
		t.Error(err)
	}
}

func TestWriteSweepsWhatAKilledOneLeft(t *testing.T) {
	s := open(t)
	if err := os.MkdirAll(s.Root()+"/tmp/layer-1/fs/deep", 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := s.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	requireEmpty(t, s, "tmp")
}

// TestNewerRecordEndsPrune: nothing is removed that a newer sandboxrun may need.
func TestNewerRecordEndsPrune(t *testing.T) {
	s := open(t)
	image(t, s, "x", "a")
	overwrite(t, s.Root()+"/leases/"+strings.Repeat("0", 64)+".json", `{"version":2}`)
	if _, err := s.Prune(t.Context(), store.PruneOptions{Images: true}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
	if _, err := s.Image("x", ""); err != nil {
		t.Error(err)
	}
}

// TestBrokenLeaseEndsPrune: what it keeps is not known, and so not removed.
func TestBrokenLeaseEndsPrune(t *testing.T) {
	s := open(t)
	image(t, s, "x", "a")
	overwrite(t, s.Root()+"/leases/"+strings.Repeat("0", 64)+".json", `{`)
	if _, err := s.Prune(t.Context(), store.PruneOptions{Images: true}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if _, err := s.Fsck(t.Context(), true, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil {
		t.Error(err)
	}
}

// TestReleaseTakesWhatAKilledLeaseLeft, and nothing of its neighbours.
func TestReleaseTakesWhatAKilledLeaseLeft(t *testing.T) {
	s := open(t)
	for _, name := range []string{"a", "b"} {
		if err := s.Lease(name, "", "", nil); err != nil {
			t.Fatal(err)
		}
		overwrite(t, s.Root()+"/leases/."+manifest.DigestOf([]byte(name)).Hex()+".json.123.tmp", "{")
	}
	if err := s.Release("a"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Root() + "/leases")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	b := manifest.DigestOf([]byte("b")).Hex() + ".json"
	if want := []string{"." + b + ".123.tmp", b}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

func TestHeldBelow(t *testing.T) {
	s := open(t)
	for name, holder := range map[string]string{"a": "/env/x/bundles/web", "b": "/env/xy/bundles/web", "c": ""} {
		if err := s.Lease(name, holder, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.HeldBelow("/env/x"); err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("HeldBelow() = %v, %v", got, err)
	}
}
