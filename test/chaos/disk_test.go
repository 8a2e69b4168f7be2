package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk makes a directory a file system of its own, of so many KiB.
func disk(t *testing.T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("chaos", dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=0700", size)); err != nil {
		t.Fatal(os.NewSyscallError("mount", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			unix.Unmount(dir, unix.MNT_DETACH) //nolint:errcheck // reported
		}
	})
}

// TestAFullDiskIsToldAndLeavesNothing starts where nothing fits, where a little more does,
// and so on until everything does. Sizes are in KiB.
func TestAFullDiskIsToldAndLeavesNothing(t *testing.T) {
	t.Run("state", func(t *testing.T) {
		startOnDisks(t, []int{4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 256, 1024}, func(t *testing.T, f *field, size int) {
			t.Helper()
			disk(t, f.roots.State, size)
		})
	})
	t.Run("data and image", func(t *testing.T) {
		startOnDisks(t, []int{4, 16, 64, 256, 1024, 4096, 65536}, func(t *testing.T, f *field, size int) {
			t.Helper()
			disk(t, f.roots.Data, size)
		})
	})
	t.Run("data", func(t *testing.T) {
		startOnDisks(t, []int{0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 1024}, func(t *testing.T, f *field, size int) {
			t.Helper()
			// What the image needs is there already.
			disk(t, f.roots.Data, 64<<10)
			f.newEnviron("before", 0).must("test", "--", "true")
			var st unix.Statfs_t
			if err := unix.Statfs(f.roots.Data, &st); err != nil {
				t.Fatal(err)
			}
			size += int((st.Blocks - st.Bfree) * uint64(st.Bsize) >> 10)
			if err := unix.Mount("chaos", f.roots.Data, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%dk", size)); err != nil {
				t.Fatal(os.NewSyscallError("mount", err))
			}
		})
	})
}

// startOnDisks runs a test in an environment on a disk of each size.
func startOnDisks(t *testing.T, sizes []int, prepare func(*testing.T, *field, int)) {
	t.Helper()
	failed, succeeded := 0, 0
	for _, size := range some(sizes) {
		t.Run(fmt.Sprintf("%d KiB", size), func(t *testing.T) {
			f := newField(t)
			prepare(t, f, size)
			e := f.newEnviron("full", size)
			c := e.command("test", "--logs", "none", "--", "sh", "-c", script)
			if err := errors.Join(c.start(), c.wait()); err != nil {
				t.Fatal(err)
			}
			if c.code() == 0 {
				succeeded++
			} else {
				failed++
				if !strings.Contains(c.stderr.String(), "no space left on device") {
					t.Errorf("the error does not tell what happened: %s", c.said())
				}
				t.Log(lastLine(c.stderr.String()))
			}
			if err := e.checkNothing(); err != nil {
				t.Errorf("%v\n%s", err, c.said())
			}
		})
	}
	if failed == 0 || succeeded == 0 {
		t.Errorf("%d failed and %d succeeded: this proves nothing", failed, succeeded)
	}
}

// TestADiskThatFillsLater fills both disks under an environment that is up: it goes on, says
// that it lost lines, and is taken down on a full disk.
func TestADiskThatFillsLater(t *testing.T) {
	f := newField(t)
	disk(t, f.roots.State, 16<<10)
	disk(t, f.roots.Data, 64<<10)
	e := f.newEnviron("later", 0)
	e.with = []string{filepath.Join(e.files, "egress.yaml"), filepath.Join(e.files, "chatter.yaml")}
	e.must("up", "-d", "--wait")
	for _, root := range []string{f.roots.State, f.roots.Data} {
		fill(t, filepath.Join(root, "filling"))
	}
	if err := e.ask(); err != nil {
		t.Errorf("on full disks: %v", err)
	}
	// The service is told to print more than was left.
	e.must("exec", "-T", "db", "sh", "-c", "touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.02; done")
	if err := e.ask(); err != nil {
		t.Errorf("after a lot of output on a full disk: %v", err)
	}
	e.must("ps")
	// The next line that can be stored has before it how many could not.
	filling := filepath.Join(f.roots.Data, "filling")
	if err := os.Remove(filling); err != nil {
		t.Fatal(err)
	}
	e.must("exec", "-T", "db", "touch", "/tmp/last")
	lost := regexp.MustCompile(`(\d+) lines were lost: no space left on device`)
	var stored, missing int
	err := eventually(t.Context(), patient(10*time.Second), func() error {
		logs := e.must("logs", "db")
		stored, missing = bytes.Count(logs.stdout.Bytes(), []byte("AAAA\n")), 0
		for _, match := range lost.FindAllSubmatch(slices.Concat(logs.stdout.Bytes(), logs.stderr.Bytes()), -1) {
			n, _ := strconv.Atoi(string(match[1])) // it matched
			missing += n
		}
		if stored+missing != chatter {
			return fmt.Errorf("%d lines are stored and %d are said to be lost, of %d:\n%s%s", stored, missing, chatter, logs.stderr.String(), lastLines(logs.stdout.String()))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if missing == 0 {
		t.Error("no line was lost: this proves nothing")
	}
	t.Logf("%d lines were stored, %d lost", stored, missing)
	fill(t, filling)
	e.must("down")
	if err := e.checkNothing(); err != nil {
		t.Error(err)
	}
}

// chatter is how many lines chatter.yaml prints.
const chatter = 20000

func lastLines(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err := file.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
