package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// requireEmpty fails unless the store's directory has nothing in it.
func requireEmpty(t *testing.T, s *store.Store, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Root(), dir))
	if err != nil || len(entries) > 0 {
		t.Errorf("%s has %v, %v", dir, entries, err)
	}
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

func requireSound(t *testing.T, s *store.Store) {
	t.Helper()
	findings, err := s.Fsck(t.Context(), false, nil)
	if err != nil || len(findings) > 0 {
		t.Errorf("fsck: %+v, %v", findings, err)
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
