package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHomeIsThatOfTheAccount(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "etc", "passwd")
	accounts := "broken\nroot:x:0:0:root:/root:/bin/sh\nempty:x:7:7:::\nada:x:1000:1000::/home/ada:\nlate:x:1000:1::/late:\n"
	if err := os.WriteFile(path, []byte(accounts), 0o644); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{0: "/root", 1000: "/home/ada", 7: "/", 42: "/"} {
		if got := homeOf(root, uid); got != want {
			t.Errorf("homeOf(%d) = %q, want %q", uid, got, want)
		}
	}
	if got := withHome([]string{"A=1"}, root, 0); !slices.Equal(got, []string{"A=1", "HOME=/root"}) {
		t.Errorf("withHome() = %q", got)
	}
	if got := withHome([]string{"HOME=/x"}, root, 0); !slices.Equal(got, []string{"HOME=/x"}) {
		t.Errorf("withHome() = %q, want what was set", got)
	}
}

// Nothing that a hostile root filesystem holds is waited for, or followed out
// of it.
func TestHomeOfAHostileRoot(t *testing.T) {
	make := map[string]func(path string) error{
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o666) },
		"directory": func(p string) error { return os.Mkdir(p, 0o755) },
		"link out":  func(p string) error { return os.Symlink("../../../../../../../../../../etc/passwd", p) },
		"loop":      func(p string) error { return os.Symlink("passwd", p) },
		"nothing":   func(string) error { return nil },
	}
	for name, prepare := range make {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := prepare(filepath.Join(root, "etc", "passwd")); err != nil {
			t.Fatal(err)
		}
		if got := homeOf(root, 0); got != "/" {
			t.Errorf("%s: homeOf() = %q, want /", name, got)
		}
		set := slices.Equal(withoutWaiting(nil, root), []string{"HOME=/"})
		if want := name == "fifo" || name == "directory"; set != want {
			t.Errorf("%s: withoutWaiting() sets HOME: %v, want %v", name, set, want)
		}
	}
}
