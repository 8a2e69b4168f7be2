package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for _, step := range []struct {
		data string
		perm fs.FileMode
	}{{"first", 0o600}, {"second, longer", 0o644}, {"", 0o400}, {"x", 0o666}} {
		if err := WriteFile(path, []byte(step.data), step.perm); err != nil {
			t.Fatal(err)
		}
		requireFile(t, path, step.data, step.perm)
		requireEntries(t, dir, "state.json")
	}
}

func TestWriteFileInWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := WriteFile("plain", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	requireEntries(t, dir, "plain")
}

func TestWriteFileReplacesLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	requireFile(t, target, "kept", 0o600)
	requireFile(t, link, "new", 0o600)
}

// TestWriteFileKeepsReaders: who has the old file open reads the old content.
func TestWriteFileKeepsReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := reader.Read(got); err != nil || string(got[:n]) != "old" {
		t.Errorf("got %q, %v", got[:n], err)
	}
}

func TestWriteErrorsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		write func(string, []byte, fs.FileMode) error
		path  string
		is    error
	}{
		{"missing directory", WriteFile, "none/f", fs.ErrNotExist},
		{"directory in the way", WriteFile, "taken", unix.EISDIR},
		{"new, directory in the way", WriteNew, "taken", fs.ErrExist},
		{"new, dangling link in the way", WriteNew, "dangling", fs.ErrExist},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.write(filepath.Join(dir, test.path), []byte("x"), 0o600)
			// rename(2) onto a directory says EISDIR or, by way of os.Rename, EEXIST.
			if !errors.Is(err, test.is) && !(errors.Is(test.is, unix.EISDIR) && errors.Is(err, fs.ErrExist)) {
				t.Errorf("got %v, want %v", err, test.is)
			}
			requireEntries(t, dir, "dangling", "taken")
		})
	}
}

func TestWriteNewHasOneWinner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var writing sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		writing.Go(func() { results[i] = WriteNew(path, fmt.Appendf(nil, "%d", i), 0o600) })
	}
	writing.Wait()
	winner := slices.Index(results, nil)
	for i, err := range results {
		if i != winner && !errors.Is(err, fs.ErrExist) {
			t.Errorf("writer %d: got %v, want fs.ErrExist", i, err)
		}
	}
	requireFile(t, path, fmt.Sprint(winner), 0o600)
	requireEntries(t, dir, "f")
}

// TestFullDisk fills a tmpfs in a mount namespace of its own.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	dir := t.TempDir()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread, and with it the namespace, ends here.
		runtime.LockOSThread()
		done <- fullDisk(dir)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	requireEntries(t, dir)
}

func fullDisk(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		return err
	}
	large := make([]byte, 128<<10)
	if err := WriteFile(path, large, 0o600); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("WriteFile: got %w, want ENOSPC", err)
	}
	if err := WriteNew(path+"2", large, 0o600); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("WriteNew: got %w, want ENOSPC", err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "old" {
		return fmt.Errorf("the old file has %q, %w", data, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		return fmt.Errorf("left behind: %v, %w", entries, err)
	}
	return nil
}

func requireFile(t *testing.T, path, data string, perm fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != data || info.Mode() != perm {
		t.Errorf("got %q with mode %v, want %q with %v", got, info.Mode(), data, perm)
	}
}

func requireEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("in the directory: %q, want %q", got, want)
	}
}
