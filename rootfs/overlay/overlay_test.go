package overlay_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"golang.org/x/sys/unix"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// newRoot makes the directories of a root with n layers: layer i has a file iI, and
// each replaces the file top of the one below.
func newRoot(t *testing.T, n int) overlay.Root {
	t.Helper()
	dir := t.TempDir()
	r := overlay.Root{Target: dir + "/target", Upper: dir + "/up,per:x", Work: dir + "/work", Method: overlay.Kernel}
	for i := range n {
		layer := fmt.Sprintf("%s/layers/%s%d", dir, strings.Repeat("long:name,", 8), i)
		r.Layers = append(r.Layers, layer)
		write(t, fmt.Sprintf("%s/i%d", layer, i), fmt.Sprint(i))
		write(t, layer+"/top", fmt.Sprint(i))
	}
	for _, path := range []string{r.Target, r.Upper, r.Work} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := overlay.Remove(r.Target, r.Upper, r.Work); err != nil {
			t.Error(err)
		}
	})
	return r
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", path, got, err, want)
	}
}

func TestMountManyLayers(t *testing.T) {
	requireRoot(t)
	for _, n := range []int{1, 2, 40, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRoot(t, n)
			if err := overlay.Mount(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			requireContent(t, r.Target+"/top", fmt.Sprint(n-1))
			requireContent(t, r.Target+"/i0", "0")
			write(t, r.Target+"/i0", "new")
			requireContent(t, r.Layers[0]+"/i0", "0")
			requireContent(t, r.Upper+"/i0", "new")
		})
	}
}

func TestMountReadOnly(t *testing.T) {
	requireRoot(t)
	for _, n := range []int{1, 3, -2} {
		r := newRoot(t, max(n, -n))
		if n > 0 {
			r.Upper, r.Work = "", ""
		}
		r.ReadOnly = n < 0
		if err := overlay.Mount(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		requireContent(t, r.Target+"/i0", "0")
		if err := os.WriteFile(r.Target+"/new", nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%d layers: write: got %v, want EROFS", n, err)
		}
		if err := overlay.Unmount(r.Target); err != nil {
			t.Error(err)
		}
	}
}

func TestMountRefuses(t *testing.T) {
	requireRoot(t)
	tests := []struct {
		name   string
		change func(t *testing.T, r *overlay.Root)
		want   string
	}{
		{"no layers", func(_ *testing.T, r *overlay.Root) { r.Layers = nil }, "it has no layers"},
		{"upper without work", func(_ *testing.T, r *overlay.Root) { r.Work = "" }, "go together"},
		{"relative", func(_ *testing.T, r *overlay.Root) { r.Layers[0] = "x" }, "no absolute path"},
		{"missing layer", func(_ *testing.T, r *overlay.Root) { r.Layers[0] += "gone" }, "no such file"},
		{"target is a link", func(t *testing.T, r *overlay.Root) {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(r.Target, link); err != nil {
				t.Fatal(err)
			}
			r.Target = link
		}, "not a directory"},
		{"layer is a link", func(t *testing.T, r *overlay.Root) {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink("/etc", link); err != nil {
				t.Fatal(err)
			}
			r.Layers[1] = link
		}, "not a directory"},
		{"layer twice", func(_ *testing.T, r *overlay.Root) { r.Layers[1] = r.Layers[0] }, "overlay"},
		{"unknown method", func(_ *testing.T, r *overlay.Root) { r.Method = "magic" }, "no way"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRoot(t, 2)
			test.change(t, &r)
			err := overlay.Mount(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnmountIsIdempotent(t *testing.T) {
	requireRoot(t)
	r := newRoot(t, 2)
	for range 2 { // stacked
		if err := overlay.Mount(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r.Upper, r.Work = "", ""
	}
	open, err := os.Open(r.Target)
	if err != nil {
		t.Fatal(err)
	}
	if err := overlay.Unmount(r.Target); !errors.Is(err, overlay.ErrBusy) {
		t.Errorf("in use: got %v, want ErrBusy", err)
	}
	open.Close()
	for range 2 {
		if err := overlay.Unmount(r.Target); err != nil {
			t.Error(err)
		}
	}
	if err := overlay.Unmount(r.Target + "/none/at/all"); err != nil {
		t.Error(err)
	}
}

// TestRemoveSparesMounts: what is bound below a root is not emptied with it.
func TestRemoveSparesMounts(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	write(t, dir+"/precious/file", "kept")
	write(t, dir+"/target/a/b/x", "x")
	if err := unix.Mount(dir+"/precious", dir+"/target/a/b", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir+"/target/a/b", 0)
	if err := overlay.Remove(dir+"/target", "", ""); !errors.Is(err, overlay.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	requireContent(t, dir+"/precious/file", "kept")
	if err := unix.Unmount(dir+"/target/a/b", 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := overlay.Remove(dir+"/target", "", ""); err != nil {
			t.Error(err)
		}
	}
	requireContent(t, dir+"/precious/file", "kept")
}

// TestCopyShowsWhatOverlayShows: the copying method gives the same tree as the
// kernel's.
func TestCopyShowsWhatOverlayShows(t *testing.T) {
	requireRoot(t)
	r := newRoot(t, 3)
	low, mid, high := r.Layers[0], r.Layers[1], r.Layers[2]
	write(t, low+"/dir/a", "a")
	write(t, low+"/dir/b", "b")
	write(t, low+"/opaque/old", "x")
	write(t, low+"/becomes-file/x", "x")
	write(t, mid+"/becomes-file", "file")
	write(t, mid+"/opaque/new", "n")
	write(t, high+"/linked", "l")
	for _, err := range []error{
		unix.Mknod(mid+"/i0", unix.S_IFCHR, 0),
		unix.Mknod(high+"/dir", unix.S_IFCHR, 0),
		unix.Setxattr(mid+"/opaque", "trusted.overlay.opaque", []byte("y"), 0),
		os.Link(high+"/linked", high+"/also"),
		os.Symlink("/etc/passwd", high+"/symlink"),
		unix.Mkfifo(high+"/fifo", 0o640),
		unix.Setxattr(high+"/linked", "user.note", []byte("v"), 0),
		os.Chmod(high+"/linked", 0o4755|os.ModeSetuid),
		os.Chown(low+"/opaque/old", 12, 34),
		os.Truncate(mid+"/opaque/new", 1<<20),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := overlay.Mount(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := describe(t, r.Target)
	copied := r
	copied.Method, copied.Target = overlay.Copy, t.TempDir()
	if err := overlay.Mount(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	// The mounted root's directory is the upper one's.
	if got := describe(t, copied.Target); body(got) != body(want) {
		t.Errorf("copied:\n%s\nmounted:\n%s", got, want)
	}
	if err := overlay.Mount(t.Context(), copied); err == nil || !strings.Contains(err.Error(), "it is not empty") {
		t.Errorf("again: got %v", err)
	}
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := tree.Print(&b, dir, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// body is all but the line of the root itself.
func body(description string) string {
	_, rest, _ := strings.Cut(description, "\n")
	return rest
}

func TestProbe(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	a, err := overlay.Probe(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a)
	if a.Method != overlay.Kernel {
		t.Errorf("got %s", a)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestProbeOnRamfs: what has no xattrs cannot hold an overlay's upper directory.
func TestProbeOnRamfs(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Skipf("no ramfs here: %v", err)
	}
	defer unix.Unmount(dir, 0)
	a, err := overlay.Probe(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a)
	if a.Method == overlay.Kernel || len(a.Refused) == 0 {
		t.Errorf("got %s", a)
	}
}
