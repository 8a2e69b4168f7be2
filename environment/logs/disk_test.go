package logs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRotation(t *testing.T) {
	for _, files := range []int{1, 3} {
		dir := t.TempDir()
		w := New(dir, "web-1", Options{MaxSize: 1000, MaxFiles: files})
		const lines = 200
		for i := range lines {
			fmt.Fprintf(w.Stdout(), "line %d\n", i)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != files {
			t.Errorf("files %v, %v, want %d", entries, err, files)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Size() > 1000 || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %d bytes, %v, %v", e.Name(), info.Size(), info.Mode(), err)
			}
		}
		got := readAll(t, dir, Query{Tail: -1})
		for i, line := range got {
			if want := fmt.Sprintf("web-1 stdout line %d", lines-len(got)+i); line != want {
				t.Fatalf("line %d is %q, want %q", i, line, want)
			}
		}
		if len(got) < 10*files/2 {
			t.Errorf("only %d lines are left in %d files", len(got), files)
		}
		if w.Lost() != 0 {
			t.Errorf("%d lines were lost", w.Lost())
		}
	}
}

// TestFullDisk fills a tmpfs: writing goes on, what is lost is counted, and told when
// there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
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
}

func fullDisk(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	w := New(dir, "web-1", Options{})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<10), 0o600); err != nil {
		return err
	}
	const lines = 100
	for i := range lines {
		fmt.Fprintf(w.Stdout(), "%d %s\n", i, strings.Repeat("x", 500))
	}
	lost := w.Lost()
	if lost == 0 || lost >= lines {
		return fmt.Errorf("%d of %d lines were lost", lost, lines)
	}
	if tail := w.Tail(1); len(tail) != 1 || !strings.HasPrefix(tail[0], "99 ") {
		return fmt.Errorf("the tail is %q", tail)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	fmt.Fprint(w.Stdout(), "room again\n")
	if err := w.Close(); err != nil {
		return err
	}
	var got []string
	if err := Read(context.Background(), dir, Query{Tail: -1}, func(e Entry) error { got = append(got, text(e)); return nil }); err != nil {
		return err
	}
	if n := uint64(len(got)); n != lines-lost+2 {
		return fmt.Errorf("%d lines are there after %d of %d were lost", n, lost, lines)
	}
	notice := fmt.Sprintf("web-1 sandboxrun %d lines were lost: no space left on device", lost)
	if got[len(got)-2] != notice || got[len(got)-1] != "web-1 stdout room again" {
		return fmt.Errorf("the last lines are %q", got[len(got)-2:])
	}
	return unix.Unmount(dir, 0)
}

// TestNoPlaceForLogs has a file where the directory would be.
func TestNoPlaceForLogs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := New(dir, "web-1", Options{})
	fmt.Fprint(w.Stdout(), "a\nb\n")
	if err := w.Close(); err != nil || w.Lost() != 2 {
		t.Errorf("Close() = %v, %d lines lost", err, w.Lost())
	}
	requireLines(t, w.Tail(5), "a", "b")
}
