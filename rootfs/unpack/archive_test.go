package unpack_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// entry is one of an archive that a test makes.
type entry struct {
	tar.Header
	content string
}

var modified = time.Unix(1700000000, 123456789)

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func folder(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hardLink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

func device(kind byte, name string, major, minor int64) entry {
	return entry{tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor}, ""}
}

// with changes an entry's header.
func (e entry) with(change func(*tar.Header)) entry {
	change(&e.Header)
	return e
}

// xattr adds an extended attribute.
func (e entry) xattr(name, value string) entry {
	records := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.PAXRecords {
		records[k] = v
	}
	e.PAXRecords = records
	return e
}

// pack makes the archive.
func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.ModTime.IsZero() {
			h.ModTime = modified
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("pack %q: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatalf("pack %q: %v", h.Name, err)
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

func zstded(t testing.TB, data []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// arena is a directory with the target of an archive in it and things around that
// must stay as they are.
type arena struct {
	t             testing.TB
	above, target string
	before        string
}

func newArena(t testing.TB) arena {
	t.Helper()
	above := t.TempDir()
	a := arena{t: t, above: above, target: filepath.Join(above, "inner", "target")}
	for _, dir := range []string{"inner/target", "victim"} {
		if err := os.MkdirAll(filepath.Join(above, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"victim/file", "inner/file"} {
		if err := os.WriteFile(filepath.Join(above, name), []byte("kept"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.before = a.around()
	return a
}

// around describes all but the target's inside.
func (a arena) around() string {
	a.t.Helper()
	var kept []string
	for line := range strings.Lines(describe(a.t, a.above, tree.Options{Times: true})) {
		if !strings.HasPrefix(line, `"inner/target`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// unpack unpacks into the target and fails the test if something outside
// changed.
func (a arena) unpack(archive []byte, o unpack.Options) (unpack.Result, error) {
	a.t.Helper()
	result, err := unpack.Layer(a.t.Context(), a.target, bytes.NewReader(archive), o)
	if after := a.around(); after != a.before {
		a.t.Fatalf("outside of the target it was\n%s\nand is\n%s", a.before, after)
	}
	return result, err
}

func describe(t testing.TB, dir string, o tree.Options) string {
	t.Helper()
	var b strings.Builder
	if err := tree.Print(&b, dir, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for owners, devices and trusted xattrs")
	}
}
