package security_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestExecWithHostileAccounts: users are numbers; the image's account files are
// read for HOME alone and decide nothing else.
func TestExecWithHostileAccounts(t *testing.T) {
	const plain = "uid 1000 1000 gid 1000 groups [1000] home "
	for _, c := range []struct {
		name  string
		place func(b *box, file string)
	}{
		{"an account that maps 1000 to root", func(b *box, file string) {
			b.file(file, "root:x:1000:1000::/evil:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nevil:x:0:1000,1000:0\n", 0o644)
		}},
		{"a group for everybody", func(b *box, file string) {
			b.file(file, "root:x:0:1000,user\nwheel:x:10:user,1000\nuser:x:1000:1000::/:\n", 0o644)
		}},
		{"not text", func(b *box, file string) {
			b.file(file, strings.Repeat("\x00:\xff:-1:99999999999999999999\n", 1000), 0o644)
		}},
		{"one long line", func(b *box, file string) { b.file(file, strings.Repeat("x:", 1<<20), 0o644) }},
		{"a link to the host", func(b *box, file string) { b.symlink(strings.Repeat("../", 20)+"etc/passwd", file) }},
		{"a link to memory", func(b *box, file string) { b.symlink("/proc/self/mem", file) }},
		{"a link to itself", func(b *box, file string) { b.symlink(filepath.Base(file), file) }},
		{"a directory", func(b *box, file string) { b.mkdir(file) }},
		{"unreadable", func(b *box, file string) { b.file(file, "user:x:1000:0::/evil:\n", 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			b.start()
			for _, file := range []string{"etc/passwd", "etc/group", "etc/shadow"} {
				c.place(b, file)
			}
			o := b.exec("--user", "1000:1000", "--additional-gids", "1000", "--", "/bin/attacker", "identity")
			if o.code != 0 || !strings.HasPrefix(o.stdout, plain) || !strings.Contains(o.stdout, "CapEff 0000000000000000\n") {
				t.Errorf("exec as 1000: %v", o)
			}
			for _, name := range []string{"root", "1000:root", "evil", "-1", "4294967296", "0x0", "1000:1000:0"} {
				o := b.exec("--user", name, "--", "/bin/attacker", "identity")
				if o.code == 0 || o.stdout != "" {
					t.Errorf("--user %s was taken: %v", name, o)
				}
			}
		})
	}
}

// TestExecIntoAHostileImage: what exec meets on its way belongs to the image.
func TestExecIntoAHostileImage(t *testing.T) {
	b := newBox(t, ownDev)
	b.node("dev/null", unix.S_IFCHR|0o666, 1, 3)
	b.start()
	// As a program with a writable root would do it while it runs.
	for _, link := range []struct{ target, name string }{
		{corePattern, "dev/ptmx"}, {corePattern, "dev/console"}, {corePattern, "dev/tty"}, {"/proc/sys", "dev/shm"},
		{b.marker, "dev/stdin"}, {strings.Repeat("../", 20) + b.marker[1:], "dev/stdout"}, {"/proc/1/root", "dev/fd"},
	} {
		b.symlink(link.target, link.name)
	}
	b.symlink("../proc/self/exe", "bin/ls")

	// A program that only the host has.
	host := filepath.Join(t.TempDir(), "only-on-the-host")
	if err := os.WriteFile(host, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := []string{filepath.Dir(host), "/proc/1/cwd", "/proc/self/fd/3", "/bin"}
	for _, c := range []struct {
		name string
		dirs []string
		runs bool // what the image has itself
	}{
		{"directories of the host and links of the kernel", dirs, true},
		// The library that looks for it refuses what it finds by a relative name.
		{"relative directories", append([]string{".", "", strings.Repeat("../", 20) + "bin"}, dirs...), false},
	} {
		path := "PATH=" + strings.Join(c.dirs, ":")
		o := b.exec("--env", path, "--", "only-on-the-host")
		if o.code == 0 || !strings.Contains(o.stderr, "not found") {
			t.Errorf("%s: a program of the host was found: %v", c.name, o)
		}
		o = b.exec("--env", path, "--", "attacker", "reach", b.marker)
		if o.code < 0 || (c.runs && o.code != 0) || strings.Contains(o.stdout, markerText) {
			t.Errorf("%s: %v", c.name, o)
		}
	}
	for _, flags := range [][]string{{"--tty"}, {"--detach"}, nil} {
		o := b.exec(append(flags, "--", "/bin/attacker", "reach", b.marker)...)
		if o.code < 0 || strings.Contains(o.stdout, markerText) {
			t.Errorf("exec %v: %v", flags, o)
		}
	}
}

// TestExecBesideAPester: a program that grabs at every process that enters
// (CVE-2016-9962) gets nothing of the host. Its control holds an open door into
// its own sandbox, which it finds.
func TestExecBesideAPester(t *testing.T) {
	root := hostDirectory(t)
	for _, preserve := range []string{"0", "1"} {
		b := newBox(t)
		b.write(withArgs("/bin/attacker", "pester", b.marker))
		pest := b.start()
		for range 15 {
			args := []string{"exec", "--preserve-fds", preserve, b.id, "/bin/attacker", "nap", "20ms"}
			if o := b.callWith([]*os.File{root, root}, args...); o.code != 0 {
				t.Errorf("exec was disturbed: %v", o)
			}
		}
		said := pest.finish()
		if !regexp.MustCompile(`(?m)^processes ([5-9]|\d\d)`).MatchString(said) {
			t.Errorf("it hardly saw a process: %s", said)
		}
		if got, want := strings.Contains(said, "got "), preserve == "1"; got != want {
			t.Errorf("with %s descriptors passed on it got something: %v: %s", preserve, got, said)
		}
	}
}

// TestExecWithASlowAccountFile: an image whose account file never ends a read
// can delay exec. It holds nobody but its own caller, who may end it.
func TestExecWithASlowAccountFile(t *testing.T) {
	b := newBox(t)
	b.start()
	b.place("etc/passwd", func(path string) error { return unix.Mkfifo(path, 0o644) })
	began := time.Now()
	o := b.exec("--env", "HOME=/", "--", "/bin/attacker", "identity")
	if o.code != 0 {
		t.Errorf("exec with HOME: %v", o)
	}
	if took := time.Since(began); took > deadline/2 {
		t.Error(fmt.Sprint("exec with HOME took ", took))
	}
}
