package unchanged

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.WriteFile(filepath.Join(dir, "a/file"), []byte("one"), 0o644),
		os.Symlink("a/file", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func lookAt(t *testing.T, paths ...string) State {
	t.Helper()
	s, err := Look(t.Context(), paths...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryChangeIsSeen(t *testing.T) {
	file := func(dir string) string { return filepath.Join(dir, "a/file") }
	for name, change := range map[string]func(dir string) error{
		"content of the same length, with the times set back": func(dir string) error {
			var st unix.Stat_t
			return errors.Join(unix.Stat(file(dir), &st), os.WriteFile(file(dir), []byte("two"), 0o644),
				os.Chtimes(file(dir), time.Unix(0, st.Atim.Nano()), time.Unix(0, st.Mtim.Nano())))
		},
		"mode":      func(dir string) error { return os.Chmod(file(dir), 0o600) },
		"attribute": func(dir string) error { return unix.Setxattr(file(dir), "user.x", []byte("y"), 0) },
		"new file":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "a/b/new"), nil, 0o644) },
		"removed":   func(dir string) error { return os.Remove(filepath.Join(dir, "link")) },
		"renamed":   func(dir string) error { return os.Rename(file(dir), file(dir)+"2") },
		"replaced by an equal one": func(dir string) error {
			return errors.Join(os.WriteFile(file(dir)+".new", []byte("one"), 0o644), os.Rename(file(dir)+".new", file(dir)))
		},
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("a/b", filepath.Join(dir, "link")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t)
			before := lookAt(t, dir)
			if again := lookAt(t, dir); again.Sum != before.Sum {
				t.Fatal("two looks at the same files differ")
			}
			if _, err := os.ReadFile(file(dir)); err != nil {
				t.Fatal(err)
			}
			if again := lookAt(t, dir); again.Sum != before.Sum {
				t.Error("reading a file changes the state")
			}
			if err := change(dir); errors.Is(err, unix.ENOTSUP) {
				t.Skip("no attributes on this filesystem")
			} else if err != nil {
				t.Fatal(err)
			}
			if lookAt(t, dir).Sum == before.Sum {
				t.Error("it is not seen")
			}
		})
	}
}

func TestAPathMayBeALinkOrAbsent(t *testing.T) {
	dir := tree(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if lookAt(t, link).Sum != lookAt(t, dir).Sum {
		t.Error("a link to a directory is another state")
	}
	absent := lookAt(t, dir, dir+"/none")
	if absent.Sum == lookAt(t, dir).Sum || absent.Sum == lookAt(t, dir, dir+"/nothing").Sum {
		t.Error("an absent file is no part of the state")
	}
}

func TestOnlyWhatIsCertainIsRemembered(t *testing.T) {
	d := manifest.FromSum(make([]byte, 32))
	now := time.Now()
	old := State{Sum: "a", Newest: now.Add(-time.Hour), Taken: now}
	for name, test := range map[string]struct {
		before, after State
		asked         State
		known         bool
	}{
		"the same":              {old, old, old, true},
		"changed since":         {old, old, State{Sum: "b"}, false},
		"changed meanwhile":     {old, State{Sum: "b"}, old, false},
		"changed just before":   {State{Sum: "a", Newest: now.Add(-time.Second), Taken: now}, State{Sum: "a"}, old, false},
		"changed in the future": {State{Sum: "a", Newest: now.Add(time.Hour), Taken: now}, State{Sum: "a"}, old, false},
		"nothing known":         {State{}, State{}, State{}, false},
	} {
		m := In(t.TempDir())
		if err := m.Remember("dir:/x", test.before, test.after, d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, known := m.Recall("dir:/x", test.asked)
		if known != test.known || known && got != d {
			t.Errorf("%s: %q, %v; want %v", name, got, known, test.known)
		}
		if _, known := m.Recall("dir:/y", test.asked); known {
			t.Errorf("%s: another key is known", name)
		}
	}
}

func TestTheMemoryIsBoundedAndSurvivesDamage(t *testing.T) {
	root := t.TempDir()
	m := In(root)
	s := State{Sum: "a", Newest: time.Unix(1, 0), Taken: time.Now()}
	d := manifest.FromSum(make([]byte, 32))
	for i := range maxRecords + 20 {
		if err := m.Remember(fmt.Sprint("dir:/", i), s, s, d); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, recordsDir))
	if err != nil || len(entries) != maxRecords {
		t.Errorf("there are %d records, %v", len(entries), err)
	}
	last := fmt.Sprint("dir:/", maxRecords+19)
	if _, known := m.Recall(last, s); !known {
		t.Error("the newest is forgotten")
	}
	if err := os.WriteFile(m.path(last), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, known := m.Recall(last, s); known {
		t.Error("a damaged record is believed")
	}
}
