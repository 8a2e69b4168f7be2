package security_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func writableRoot(spec *specs.Spec) { spec.Root.Readonly = false }

// TestExecutableIsNotOverwrittenByRun is CVE-2019-5736 with an image whose
// program is /proc/self/exe: the runtime executes itself as the container, and a
// hostile neighbour in the same PID namespace takes hold of the executable.
func TestExecutableIsNotOverwrittenByRun(t *testing.T) {
	hunting := newBox(t, withArgs("/bin/attacker", "hunt", size(t, shared.binary)))
	hunter := hunting.start()
	b := newBox(t, withArgs("/proc/self/exe", "list"), func(spec *specs.Spec) {
		for i := range spec.Linux.Namespaces {
			if ns := &spec.Linux.Namespaces[i]; ns.Type == specs.PIDNamespace {
				ns.Path = fmt.Sprintf("/proc/%d/ns/pid", hunting.pid())
			}
		}
	})
	for range 10 {
		if o := b.run(); o.code != 0 || !strings.Contains(o.stdout, "BUNDLE") {
			t.Fatalf("the attack did not get as far as executing the runtime inside: %v", o)
		}
	}
	said := hunter.finish()
	if !strings.Contains(said, "captured") {
		t.Fatalf("the attack took hold of nothing: %s", said)
	}
	if regexp.MustCompile(`(?m)^overwrite 0$`).MatchString(said) {
		t.Errorf("an executable was overwritten: %s", said)
	}
}

// TestExecutableIsNotOverwrittenFromExec is the way of the published exploit: a
// program inside waits for an exec of a script whose interpreter is
// /proc/self/exe, takes hold of the executable and writes to it when it is no
// longer busy. The control does the same to an executable that nobody sealed.
func TestExecutableIsNotOverwrittenFromExec(t *testing.T) {
	for _, c := range []struct {
		name    string
		program []string // what is executed inside
		falls   bool
	}{
		{"the runtime by way of a shell", []string{"/bin/sh"}, false},
		{"the runtime itself", []string{"/proc/self/exe", "list"}, false},
		{"control: a program of the image", []string{"/bin/victim", "nap", "100ms"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, writableRoot, withArgs("/bin/attacker", "hunt", size(t, shared.binary), size(t, shared.attacker)))
			b.file("bin/sh", "#!/proc/self/exe list\n", 0o755)
			victim := filepath.Join(b.rootfs, "bin", "victim")
			copyFile(t, shared.attacker, victim)
			hunter := b.start()
			for range 10 {
				b.exec(append([]string{"--"}, c.program...)...)
			}
			said := hunter.finish()
			if !strings.Contains(said, "captured") {
				t.Fatalf("the attack took hold of nothing: %s", said)
			}
			if got := regexp.MustCompile(`(?m)^overwrite 0$`).MatchString(said); got != c.falls {
				t.Errorf("an executable was overwritten: %v: %s", got, said)
			}
			data, err := os.ReadFile(victim)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.HasPrefix(string(data), "#!/bin/sh"); got != c.falls {
				t.Errorf("the unprotected executable was overwritten: %v", got)
			}
		})
	}
}

// TestExecutableOfPID1IsSealed: with --init a process of ours stays visible as
// /proc/1/exe as long as the sandbox lives.
func TestExecutableOfPID1IsSealed(t *testing.T) {
	// All rights, as PID 1 need not let itself be looked at without.
	b := newBox(t, mightier, withArgs("/bin/attacker", "overwrite-pid1"))
	var host unix.Stat_t
	if err := unix.Stat(shared.binary, &host); err != nil {
		t.Fatal(err)
	}
	o := b.run("--init")
	if o.code != 0 || !strings.Contains(o.stdout, "open 0\n") {
		t.Fatalf("PID 1 cannot be looked at, so this shows nothing: %v", o)
	}
	if strings.Contains(o.stdout, fmt.Sprintf("inode %d:%d\n", host.Dev, host.Ino)) {
		t.Errorf("PID 1 runs the host's own inode:\n%s", o.stdout)
	}
	for _, attempt := range []string{"open-for-writing", "truncate", "reopen"} {
		if strings.Contains(o.stdout, attempt+" 0\n") || !strings.Contains(o.stdout, attempt+" ") {
			t.Errorf("%s succeeded:\n%s", attempt, o.stdout)
		}
	}
	// ETXTBSY ends with the process; only a seal or a read-only mount lasts.
	seals := 0
	if m := regexp.MustCompile(`seals (\d+) 0`).FindStringSubmatch(o.stdout); m != nil {
		var err error
		if seals, err = strconv.Atoi(m[1]); err != nil {
			t.Fatal(err)
		}
	}
	if seals&unix.F_SEAL_WRITE == 0 && !strings.Contains(o.stdout, "read-only-mount true") {
		t.Errorf("neither sealed nor on a read-only mount:\n%s", o.stdout)
	}

	// The control is the same program as a plain PID 1 of a writable image.
	b.write(writableRoot, withArgs("/bin/attacker", "sleep"))
	b.start()
	o = b.exec("--", "/bin/attacker", "overwrite-pid1")
	if !strings.Contains(o.stdout, "open 0\n") || !strings.Contains(o.stdout, "read-only-mount false") || strings.Contains(o.stdout, "seals 0 0") {
		t.Errorf("the control looks protected: %v", o)
	}
}

// size is that of a file in bytes, as a word of a command line.
func size(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(info.Size(), 10)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
}
