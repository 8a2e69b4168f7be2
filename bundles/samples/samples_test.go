package samples

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/golden"
)

func TestSpecGolden(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			spec, err := Spec(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := bundles.Validate(spec); err != nil {
				t.Error(err)
			}
			got, err := bundles.Encode(spec)
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata", name+"_"+runtime.GOARCH+".json"), got)
		})
	}
}

// TestBuildTwice builds over a bundle and wants the same bytes, in a new directory,
// and nothing of the old one left.
func TestBuildTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	first, err := Build(t.Context(), dir, "workload")
	if err != nil {
		t.Fatal(err)
	}
	content := files(t, first.Dir)
	wantNames := []string{".", "config.json", "rootfs", "rootfs/bin", "rootfs/bin/workload", "rootfs/dev", "rootfs/etc", "rootfs/proc", "rootfs/sys", "rootfs/tmp"}
	if names := sortedNames(content); !slices.Equal(names, wantNames) {
		t.Errorf("got  %q\nwant %q", names, wantNames)
	}
	old, err := os.Open(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.WriteFile(filepath.Join(first.Dir, "rootfs", "stale"), nil, 0o644); err != nil {
		t.Fatal(err)
	}

	second, err := Build(t.Context(), dir, "workload")
	if err != nil {
		t.Fatal(err)
	}
	if again := files(t, second.Dir); !reflect.DeepEqual(again, content) {
		t.Errorf("another bundle: %q, before %q", sortedNames(again), sortedNames(content))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	oldInfo, err := old.Stat()
	if err != nil {
		t.Fatal(err)
	}
	newInfo, err := os.Stat(second.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(oldInfo, newInfo) {
		t.Error("the old directory was changed in place")
	}
}

func TestBuildErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Build(t.Context(), dir, "../x")
	if want := `cannot build sample "../x": no such sample; there are hello, workload`; err == nil || err.Error() != want || !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, dir, "hello"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = Build(t.Context(), dir, "hello")
	if want := `cannot compile sample "hello": there is no go command in PATH; install Go 1.26`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

type file struct {
	mode fs.FileMode
	data string
}

func files(t *testing.T, dir string) map[string]file {
	t.Helper()
	found := map[string]file{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var data []byte
		if info.Mode().IsRegular() {
			if data, err = os.ReadFile(filepath.Join(dir, path)); err != nil {
				return err
			}
		}
		found[path] = file{info.Mode(), string(data)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func sortedNames(found map[string]file) []string {
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
