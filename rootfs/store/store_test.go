package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// add stores data as a blob.
func add(t testing.TB, s *store.Store, data string) manifest.Digest {
	t.Helper()
	d := manifest.DigestOf([]byte(data))
	if err := s.AddBlob(t.Context(), d, int64(len(data)), strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

// layer makes a layer with a file of the given content, whose diff ID is made up
// of it.
func layer(t testing.TB, s *store.Store, content string) store.Layer {
	t.Helper()
	l, err := s.MakeLayer(t.Context(), manifest.DigestOf([]byte(content)), "", func(dir string) (store.Layer, error) {
		return store.Layer{Form: "overlay", Blob: manifest.DigestOf([]byte("packed " + content)), Bytes: 5, Entries: 1},
			os.WriteFile(dir+"/file", []byte(content), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// image stores an image of layers with the given contents and names it.
func image(t testing.TB, s *store.Store, name string, contents ...string) manifest.Digest {
	t.Helper()
	config := manifest.Config{OS: "linux", Architecture: "amd64", RootFS: manifest.RootFS{Type: "layers", DiffIDs: []manifest.Digest{}}}
	m := manifest.Manifest{SchemaVersion: 2, MediaType: manifest.TypeOCIManifest, Layers: []manifest.Descriptor{}}
	for _, content := range contents {
		l := layer(t, s, content)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, manifest.Descriptor{MediaType: manifest.TypeOCILayer, Digest: add(t, s, "packed "+content), Size: 1})
	}
	configData, err := manifest.Encode(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = manifest.Descriptor{MediaType: manifest.TypeOCIConfig, Digest: add(t, s, string(configData)), Size: int64(len(configData))}
	data, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	d := add(t, s, string(data))
	if err := s.Tag(name, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpen(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "data")
	for range 2 {
		s, err := store.Open(root)
		if err != nil || s.Root() != root {
			t.Fatalf("got %v, %v", s, err)
		}
	}
	info, err := os.Stat(root)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if _, err := store.Open("relative"); err == nil {
		t.Error("a relative path was opened")
	}
	if err := os.WriteFile(root+"/store.json", []byte(`{"version":2,"what":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(root); !errors.Is(err, store.ErrNewer) {
		t.Errorf("newer: got %v", err)
	}
	if err := os.WriteFile(root+"/store.json", []byte(`{"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(root); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("broken: got %v", err)
	}
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(root); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("open to all: got %v", err)
	}
}

func TestBlobs(t *testing.T) {
	s := open(t)
	d := add(t, s, "hello")
	got, err := s.ReadBlob(d)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	// One that is there is not read again.
	if err := s.AddBlob(t.Context(), d, 5, strings.NewReader("other")); err != nil {
		t.Error(err)
	}
	other := manifest.DigestOf([]byte("other"))
	if _, err := s.Blob(other); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("missing: got %v", err)
	}
	for name, content := range map[string]string{"wrong content": "OTHER", "too long": "otherother", "too short": "o"} {
		if err := s.AddBlob(t.Context(), other, 5, strings.NewReader(content)); !errors.Is(err, store.ErrDigest) || s.HasBlob(other) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AddBlob(cancelled, other, 5, strings.NewReader("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	for _, bad := range []manifest.Digest{"", "sha256:../../x", "md5:00"} {
		if _, err := s.Blob(bad); err == nil {
			t.Errorf("blob %q was opened", bad)
		}
	}
	requireEmpty(t, s, "tmp")
}

// requireEmpty fails unless the store's directory has nothing in it.
func requireEmpty(t *testing.T, s *store.Store, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Root(), dir))
	if err != nil || len(entries) > 0 {
		t.Errorf("%s has %v, %v", dir, entries, err)
	}
}

func TestPartialGoesOn(t *testing.T) {
	s := open(t)
	content := strings.Repeat("0123456789", 1000)
	d := manifest.DigestOf([]byte(content))
	for _, end := range []int{1, 10, 9999, 10000} {
		p, err := s.Partial(t.Context(), d, int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(p, content[p.Offset():end]); err != nil {
			t.Fatal(err)
		}
		if end == len(content) {
			if err := p.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Partial(t.Context(), d, int64(len(content))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	got, err := s.ReadBlob(d)
	if err != nil || string(got) != content {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	requireEmpty(t, s, "partial")
}

func TestPartialForgetsWhatIsWrong(t *testing.T) {
	s := open(t)
	d := manifest.DigestOf([]byte("right"))
	p, err := s.Partial(t.Context(), d, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.WriteString(p, "wrong"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "!"); !errors.Is(err, store.ErrDigest) {
		t.Errorf("too long: got %v", err)
	}
	if err := p.Commit(); !errors.Is(err, store.ErrDigest) || p.Offset() != 0 {
		t.Errorf("got %v at %d", err, p.Offset())
	}
	if _, err := io.WriteString(p, "right"); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Error(err)
	}
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Partial(wait, d, 5); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("held by another: got %v", err)
	}
}

func TestLayers(t *testing.T) {
	s := open(t)
	made := layer(t, s, "a")
	again, err := s.MakeLayer(t.Context(), made.DiffID, "", func(string) (store.Layer, error) { return store.Layer{}, errors.New("made twice") })
	if err != nil || again != made {
		t.Errorf("got %+v, %v, want %+v", again, err, made)
	}
	if _, err := s.Layer(made.DiffID, "user"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another variant: got %v", err)
	}
	broken := errors.New("the disk is full")
	_, err = s.MakeLayer(t.Context(), manifest.DigestOf(nil), "", func(dir string) (store.Layer, error) {
		if err := errors.Join(os.MkdirAll(dir+"/half/built", 0o700), os.Chmod(dir+"/half", 0)); err != nil {
			t.Error(err)
		}
		return store.Layer{}, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	requireEmpty(t, s, "tmp")
	if _, err := s.Layer(manifest.DigestOf(nil), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half built: got %v", err)
	}
	for _, variant := range []string{"../x", "A", "a b", strings.Repeat("x", 41)} {
		if _, err := s.Layer(made.DiffID, variant); err == nil {
			t.Errorf("variant %q was taken", variant)
		}
	}
}

// TestLayerAfterPowerCut: what was not settled before another boot is made again.
func TestLayerAfterPowerCut(t *testing.T) {
	s := open(t)
	lost, kept := layer(t, s, "lost"), layer(t, s, "kept")
	rewrite := func(l store.Layer, old, new string) {
		t.Helper()
		path := filepath.Join(filepath.Dir(l.Dir), "layer.json")
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(old)) {
			t.Fatalf("%s, %v", data, err)
		}
		if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(lost, `"boot":"`, `"boot":"another-`)
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	rewrite(kept, `"boot":"`, `"boot":"another-`)
	if _, err := s.Layer(kept.DiffID, ""); err != nil {
		t.Errorf("settled: got %v", err)
	}
	if _, err := s.Layer(lost.DiffID, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("not settled: got %v", err)
	}
	findings, err := s.Fsck(t.Context(), false, nil)
	if err != nil || len(findings) != 1 || !strings.Contains(findings[0].Problem, "restarted") {
		t.Errorf("got %+v, %v", findings, err)
	}
	if layer(t, s, "lost"); true {
		if _, err := s.Layer(lost.DiffID, ""); err != nil {
			t.Errorf("made again: got %v", err)
		}
	}
	requireEmpty(t, s, "tmp")
}

func TestImages(t *testing.T) {
	s := open(t)
	d := image(t, s, "docker.io/library/x:1", "low", "high", "low")
	got, err := s.Image("docker.io/library/x:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != d || len(got.Config.RootFS.DiffIDs) != 3 || got.Pulled.IsZero() {
		t.Errorf("got %+v", got)
	}
	// A layer that comes twice is mounted once, as the higher one.
	if len(got.Layers) != 2 || got.Layers[1].DiffID != manifest.DigestOf([]byte("low")) {
		t.Errorf("layers %+v", got.Layers)
	}
	if byDigest, err := s.Image(string(d), ""); err != nil || byDigest.Digest != d {
		t.Errorf("by digest: got %+v, %v", byDigest, err)
	}
	entries, err := s.Images()
	if err != nil || len(entries) != 1 || entries[0].Platform != "linux/amd64" || entries[0].Digest != d {
		t.Errorf("got %+v, %v", entries, err)
	}
	if err := s.Untag("docker.io/library/x:1"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{s.Untag("docker.io/library/x:1"), second(s.Image("docker.io/library/x:1", ""))} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	for _, bad := range []string{"", "sha256:" + strings.Repeat("0", 64), strings.Repeat("x", 5000)} {
		if err := s.Tag(bad, d); err == nil {
			t.Errorf("name %.20q was taken", bad)
		}
	}
}

func second[T any](_ T, err error) error { return err }

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

func requireSound(t *testing.T, s *store.Store) {
	t.Helper()
	findings, err := s.Fsck(t.Context(), false, nil)
	if err != nil || len(findings) > 0 {
		t.Errorf("fsck: %+v, %v", findings, err)
	}
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

func TestFsckFindsAndRepairs(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, root string, d manifest.Digest)
		want   string
	}{
		{"flipped blob", func(t *testing.T, root string, d manifest.Digest) {
			overwrite(t, filepath.Join(root, "blobs/sha256", d.Hex()), "{}")
		}, "its content has another digest"},
		{"stray blob", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, root+"/blobs/sha256/stray", "x")
		}, "it is no blob"},
		{"broken layer record", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/layers/*/layer.json"), "{")
		}, "its record cannot be read"},
		{"lost tree", func(t *testing.T, root string, _ manifest.Digest) {
			if err := os.RemoveAll(glob(t, root+"/layers/*/fs")); err != nil {
				t.Fatal(err)
			}
		}, "its tree is missing"},
		{"changed tree", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/layers/*/fs/file"), "changed")
		}, "its tree differs"},
		{"broken reference", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/images/*.json"), "[]")
		}, "its record cannot be read"},
		{"reference of another name", func(t *testing.T, root string, d manifest.Digest) {
			overwrite(t, glob(t, root+"/images/*.json"), `{"version":1,"reference":"y","digest":"`+string(d)+`"}`)
		}, "it is the record of"},
		{"lost manifest", func(t *testing.T, root string, d manifest.Digest) {
			if err := os.Remove(filepath.Join(root, "blobs/sha256", d.Hex())); err != nil {
				t.Fatal(err)
			}
		}, "is broken"},
		{"broken lease", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, root+"/leases/x.json", `{"version":1,"name":"n"}`)
		}, "its record cannot be read"},
	}
	remake := func(_ context.Context, _ io.Reader, _ store.Layer, dir string) error {
		return os.WriteFile(dir+"/file", []byte("content"), 0o644)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			d := image(t, s, "x", "content")
			test.damage(t, s.Root(), d)
			findings, err := s.Fsck(t.Context(), false, remake)
			if err != nil || len(findings) == 0 || !strings.Contains(findings[0].Problem, test.want) || findings[0].Repaired {
				t.Fatalf("got %+v, %v, want %q", findings, err, test.want)
			}
			if _, err := s.Fsck(t.Context(), true, remake); err != nil {
				t.Fatal(err)
			}
			// What refers to what was removed may come to light only then.
			if _, err := s.Fsck(t.Context(), true, remake); err != nil {
				t.Fatal(err)
			}
			requireSound(t, s)
			image(t, s, "x", "content")
			requireSound(t, s)
		})
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
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

func TestDefaultRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		if got, err := store.DefaultRoot(func(string) string { return "/x" }); got != "/var/lib/sandboxrun" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"version":1,"reference":"x","digest":"sha256:`+strings.Repeat("a", 64)+`"}`), []byte(`{"version":1,"name":"n","layers":["a"]}`), []byte(`{"version":1}`))
	f.Add([]byte(`{"version":2}`), []byte(`[]`), []byte(`{"version":1,"diffID":"sha256:..","boot":"x","settled":true}`))
	s, err := store.Open(filepath.Join(f.TempDir(), "data"))
	if err != nil {
		f.Fatal(err)
	}
	hex := manifest.DigestOf([]byte("x")).Hex()
	f.Fuzz(func(t *testing.T, reference, lease, layer []byte) {
		if err := os.MkdirAll(s.Root()+"/layers/"+hex+"/fs", 0o700); err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{
			"images/" + hex + ".json": reference, "leases/" + hex + ".json": lease, "layers/" + hex + "/layer.json": layer,
		} {
			if err := os.WriteFile(filepath.Join(s.Root(), path), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, imageErr := s.Image("x", "")
		_, layerErr := s.Layer(manifest.DigestOf([]byte("x")), "")
		_, listErr := s.Images()
		for _, err := range []error{imageErr, layerErr} {
			if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
				t.Errorf("an error that nobody can act on: %v", err)
			}
		}
		if listErr != nil {
			t.Error(listErr)
		}
		if _, err := s.Prune(t.Context(), store.PruneOptions{Images: true}); err != nil && !errors.Is(err, store.ErrNewer) && !errors.Is(err, store.ErrCorrupt) {
			t.Error(err)
		}
		if _, err := s.Fsck(t.Context(), true, nil); err != nil && !errors.Is(err, store.ErrNewer) {
			t.Error(err)
		}
	})
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
