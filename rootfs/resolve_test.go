package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes what TestResolve needs and returns its path, free of links.
func tree(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bundle/rootfs/sub", "elsewhere/root"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "bundle/file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"bundle/link":     "rootfs",
		"bundle/up":       "../elsewhere",
		"bundle/dangling": "nowhere",
		"bundle/loop":     "loop",
		"linked":          "bundle",
	} {
		if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestResolve(t *testing.T) {
	top := tree(t)
	t.Chdir(top)
	tests := []struct {
		name   string
		bundle string
		path   string
		want   string
	}{
		{"relative", top + "/bundle", "rootfs", "bundle/rootfs"},
		{"slash and dots", top + "/bundle", "./rootfs//sub/../", "bundle/rootfs"},
		{"absolute", "/nowhere", top + "/elsewhere/root", "elsewhere/root"},
		{"outside of the bundle", top + "/bundle", "../elsewhere/root", "elsewhere/root"},
		{"the bundle itself", top + "/bundle", ".", "bundle"},
		{"relative bundle", "bundle", "rootfs", "bundle/rootfs"},
		{"linked bundle", top + "/linked", "rootfs", "bundle/rootfs"},
		{"link above", top + "/bundle", "up/root", "elsewhere/root"},
		{"absolute, link above", top + "/bundle", top + "/linked/rootfs", "bundle/rootfs"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Resolve(test.bundle, test.path)
			if want := filepath.Join(top, test.want); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	top := tree(t)
	tests := []struct {
		name string
		path string
		is   error
		want string
	}{
		{"empty", "", ErrNoPath, `cannot use root filesystem: root.path is empty; name a directory, for example "rootfs", in config.json`},
		{"missing", "none", ErrNotExist, `cannot use root filesystem "TOP/bundle/none": it does not exist; create it or correct root.path in config.json`},
		{"missing above", "none/root", ErrNotExist, `cannot use root filesystem "TOP/bundle/none/root": it does not exist; create it or correct root.path in config.json`},
		{"file", "file", ErrNotDirectory, `cannot use root filesystem "TOP/bundle/file": it is not a directory; correct root.path in config.json`},
		{"file above", "file/root", ErrNotDirectory, `cannot use root filesystem "TOP/bundle/file/root": it is not a directory; correct root.path in config.json`},
		{"link", "link", ErrSymlink, `cannot use root filesystem "TOP/bundle/link": it is a symbolic link; set root.path in config.json to "TOP/bundle/rootfs"`},
		{"link with slash", "link/", ErrSymlink, `cannot use root filesystem "TOP/bundle/link": it is a symbolic link; set root.path in config.json to "TOP/bundle/rootfs"`},
		{"dangling link", "dangling", ErrSymlink, `cannot use root filesystem "TOP/bundle/dangling": it is a symbolic link to nothing; correct root.path in config.json`},
		{"loop", "loop/x", nil, `cannot use root filesystem "TOP/bundle/loop/x": too many levels of symbolic links`},
		{"null byte", "a\x00b", nil, `cannot use root filesystem "TOP/bundle/a\x00b": invalid argument`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Resolve(filepath.Join(top, "bundle"), test.path)
			if err == nil {
				t.Fatalf("Resolve accepted it: %q", got)
			}
			if want := strings.ReplaceAll(test.want, "TOP", top); err.Error() != want {
				t.Errorf("got:  %s\nwant: %s", err, want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is no %v", err, test.is)
			}
		})
	}
}

func TestExplainPermission(t *testing.T) {
	err := explain("/secret/root", &fs.PathError{Op: "lstat", Path: "/secret/root", Err: fs.ErrPermission})
	want := `cannot use root filesystem "/secret/root": permission denied; run as a user who may enter it`
	if err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %q, want %q", err, want)
	}
}
