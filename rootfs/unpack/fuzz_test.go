package unpack_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// FuzzLayer: whatever the stream, nothing outside the target changes, no error
// has a newline, and what was unpacked can be walked and removed.
func FuzzLayer(f *testing.F) {
	seeds := [][]entry{
		{folder("a"), file("a/b", "x"), symlink("l", "a"), file("l/c", "x"), hardLink("h", "a/b"), file("a/.wh.b", ""), file("a/.wh..wh..opq", "")},
		{symlink("a", "../../victim"), file("a/file", "x")},
		{file("../file", "x"), hardLink("x", "../../victim/file")},
		{device(tar.TypeFifo, "p", 0, 0), file("c", "x").xattr("user.x", "v"), file("c", "y")},
	}
	for _, entries := range seeds {
		f.Add(pack(f, entries...), uint8(0))
		f.Add(gzipped(f, pack(f, entries...)), uint8(2))
		f.Add(zstded(f, pack(f, entries...)), uint8(1))
	}
	f.Add(sparseArchive(1<<20), uint8(0))
	above := f.TempDir()
	for _, dir := range []string{"inner", "victim"} {
		if err := os.Mkdir(filepath.Join(above, dir), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(above, dir, "file"), []byte("kept"), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	before := describe(f, above, tree.Options{})
	f.Fuzz(func(t *testing.T, stream []byte, form uint8) {
		target := filepath.Join(above, "inner", "target")
		if err := os.Mkdir(target, 0o755); err != nil {
			t.Fatal(err)
		}
		o := unpack.Options{
			Form: unpack.Form(form % 3), Devices: unpack.SkipDevices, OwnAll: true,
			Limits: unpack.Limits{Bytes: 4 << 20, FileBytes: 4 << 20, Entries: 1000},
		}
		_, err := unpack.Layer(t.Context(), target, bytes.NewReader(stream), o)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("not one line: %q", err)
		}
		if err := tree.Print(&bytes.Buffer{}, target, tree.Options{NoContent: true}); err != nil && os.Geteuid() == 0 {
			t.Error(err)
		}
		if err := os.RemoveAll(target); err != nil {
			t.Fatal(err)
		}
		if after := describe(t, above, tree.Options{}); after != before {
			t.Fatalf("outside it was\n%s\nand is\n%s", before, after)
		}
	})
}
