package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// built is an image that a test makes: documents and packed layers by digest.
type built struct {
	blobs    map[manifest.Digest][]byte
	manifest []byte
	config   []byte
	m        manifest.Manifest
	diffIDs  []manifest.Digest
	plain    [][]byte // layers before they were packed
}

// build makes an image of layers, each of files by name. change may alter
// manifest and configuration before they are encoded.
func build(t testing.TB, platform manifest.Platform, change func(*manifest.Manifest, *manifest.Config), layers ...map[string]string) built {
	t.Helper()
	b := built{blobs: map[manifest.Digest][]byte{}}
	c := manifest.Config{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant, RootFS: manifest.RootFS{Type: "layers", DiffIDs: []manifest.Digest{}}}
	b.m = manifest.Manifest{SchemaVersion: 2, MediaType: manifest.TypeOCIManifest, Layers: []manifest.Descriptor{}}
	for _, files := range layers {
		plain := layerTar(t, files)
		packed := gzipped(t, plain)
		b.plain = append(b.plain, plain)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, manifest.DigestOf(plain))
		b.m.Layers = append(b.m.Layers, b.put(manifest.TypeOCILayer+"+gzip", packed))
	}
	b.diffIDs = c.RootFS.DiffIDs
	b.m.Config.MediaType = manifest.TypeOCIConfig
	if change != nil {
		change(&b.m, &c)
	}
	b.config = encode(t, c)
	b.m.Config = b.put(b.m.Config.MediaType, b.config)
	b.manifest = encode(t, b.m)
	b.put(b.m.MediaType, b.manifest)
	return b
}

func (b *built) put(mediaType string, data []byte) manifest.Descriptor {
	d := manifest.DigestOf(data)
	b.blobs[d] = data
	return manifest.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func layerTar(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1, 0), Uid: os.Geteuid(), Gid: os.Getegid()}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layoutFiles are the files of an OCI layout of images by their tags.
func layoutFiles(t testing.TB, images map[string]built) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	index := manifest.Index{SchemaVersion: 2, Manifests: []manifest.Descriptor{}}
	for tag, b := range images {
		for d, data := range b.blobs {
			files["blobs/sha256/"+d.Hex()] = data
		}
		d := manifest.Descriptor{MediaType: manifest.TypeOCIManifest, Digest: manifest.DigestOf(b.manifest), Size: int64(len(b.manifest))}
		if tag != "" {
			d.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
		}
		index.Manifests = append(index.Manifests, d)
	}
	files["index.json"] = encode(t, index)
	return files
}

// dockerFiles are the files of what docker save writes.
func dockerFiles(t testing.TB, tags []string, b built) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"config.json": b.config}
	saved := struct {
		Config           string
		RepoTags, Layers []string
	}{Config: "config.json", RepoTags: tags}
	for i, plain := range b.plain {
		name := fmt.Sprintf("%d/layer.tar", i)
		files[name] = plain
		saved.Layers = append(saved.Layers, name)
	}
	files["manifest.json"] = encode(t, []any{saved})
	return files
}

func writeDir(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeTar(t testing.TB, files map[string][]byte) string {
	t.Helper()
	texts := map[string]string{}
	for name, data := range files {
		texts[name] = string(data)
	}
	path := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(path, layerTar(t, texts), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve starts a registry on loopback behind wrap, which may be nil, and pushes
// images by "name:tag". It returns its host.
func serve(t testing.TB, wrap func(http.Handler) http.Handler, images map[string]built) string {
	t.Helper()
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	for name, b := range images {
		repository, tag, _ := strings.Cut(name, ":")
		for d, data := range b.blobs {
			push(t, handler, http.MethodPost, fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repository, d), "", data)
		}
		push(t, handler, http.MethodPut, fmt.Sprintf("/v2/%s/manifests/%s", repository, manifest.DigestOf(b.manifest)), b.m.MediaType, b.manifest)
		push(t, handler, http.MethodPut, fmt.Sprintf("/v2/%s/manifests/%s", repository, tag), b.m.MediaType, b.manifest)
	}
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func push(t testing.TB, handler http.Handler, method, path, mediaType string, data []byte) {
	t.Helper()
	request := httptest.NewRequest(method, path, bytes.NewReader(data))
	request.Header.Set("Content-Type", mediaType)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code >= 300 {
		t.Fatalf("push %s: %d %s", path, recorder.Code, recorder.Body)
	}
}

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quick are options for a registry on loopback that misbehaves.
func quick() image.Options {
	return image.Options{Anonymous: true, Backoff: time.Millisecond, StallTimeout: 300 * time.Millisecond}
}

func requireSound(t testing.TB, s *store.Store) {
	t.Helper()
	findings, err := s.Fsck(t.Context(), false, nil)
	if err != nil || len(findings) > 0 {
		t.Errorf("fsck: %+v, %v", findings, err)
	}
	for _, dir := range []string{"tmp", "partial"} {
		entries, err := os.ReadDir(filepath.Join(s.Root(), dir))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
}

// requireFile fails unless the uppermost layer that has name has it with the
// content.
func requireFile(t testing.TB, img store.Image, name, want string) {
	t.Helper()
	for i := len(img.Layers) - 1; i >= 0; i-- {
		got, err := os.ReadFile(filepath.Join(img.Layers[i].Dir, name))
		if err == nil {
			if string(got) != want {
				t.Errorf("%s has %.100q, want %.100q", name, got, want)
			}
			return
		}
	}
	t.Errorf("no layer has %s", name)
}

// trace notes what was asked of a registry.
type trace struct {
	mu       sync.Mutex
	requests []string // guarded by mu
}

func (r *trace) note(request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.Method+" "+request.URL.Path+" "+request.Header.Get("Range"))
}

func (r *trace) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, line := range r.requests {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
