package security_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hostDirectory opens the host's root, and with it everything.
func hostDirectory(t *testing.T) *os.File {
	t.Helper()
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// TestWorkingDirectoryIsInside is CVE-2024-21626: a working directory that is a
// descriptor of the runtime leads to the host's tree. The caller leaves
// descriptors of the host's root open, as careless callers do.
func TestWorkingDirectoryIsInside(t *testing.T) {
	root := hostDirectory(t)
	leaked := []*os.File{root, root, root}
	b := newBox(t)
	b.start()
	for n := 3; n <= 20; n++ {
		for _, form := range []string{"/proc/self/fd/%d", "/proc/self/fd/%d/../../..", "/proc/thread-self/fd/%d/tmp"} {
			cwd := fmt.Sprintf(form, n)
			if n > 8 && form != "/proc/self/fd/%d" {
				continue
			}
			o := b.callWith(leaked, "exec", "--cwd", cwd, b.id, "/bin/attacker", "reach", b.marker)
			if strings.Contains(o.stdout, markerText) {
				t.Errorf("exec --cwd %s reached the host: %v", cwd, o)
			}
		}
	}
	for n := 3; n <= 20; n++ {
		cwd := fmt.Sprintf("/proc/self/fd/%d", n)
		other := newBox(t, withArgs("/bin/attacker", "reach", b.marker), func(spec *specs.Spec) { spec.Process.Cwd = cwd })
		if o := other.callWith(leaked, "run", other.dir, other.id); strings.Contains(o.stdout, markerText) {
			t.Errorf("run with cwd %s reached the host: %v", cwd, o)
		}
	}
}

// TestWorkingDirectoryOutsideIsRefused is the control of the test above: a
// descriptor of the host's root that is passed on purpose shows that the attack
// finds what there is to find, and even that one is refused as a working
// directory.
func TestWorkingDirectoryOutsideIsRefused(t *testing.T) {
	root := []*os.File{hostDirectory(t)}
	b := newBox(t)
	b.start()
	o := b.callWith(root, "exec", "--preserve-fds", "1", b.id, "/bin/attacker", "reach", b.marker)
	if !strings.Contains(o.stdout, "reached by descriptor 3: "+markerText) {
		t.Fatalf("the attack does not see an open door: %v", o)
	}
	o = b.callWith(root, "exec", "--preserve-fds", "1", "--cwd", "/proc/self/fd/3", b.id, "/bin/attacker", "reach", b.marker)
	if o.code == 0 || strings.Contains(o.stdout, "reached") || !strings.Contains(o.stderr, "outside") {
		t.Errorf("exec accepted a working directory outside: %v", o)
	}
	other := newBox(t, withArgs("/bin/attacker", "reach", b.marker), func(spec *specs.Spec) { spec.Process.Cwd = "/proc/self/fd/3" })
	o = other.callWith(root, "run", "--preserve-fds", "1", other.dir, other.id)
	if o.code == 0 || strings.Contains(o.stdout, "reached") || !strings.Contains(o.stderr, "outside") {
		t.Errorf("run accepted a working directory outside: %v", o)
	}
}

// TestOnlyPassedDescriptorsAreSeen: whatever the caller and the runtime have
// open, a program finds its three streams and what was passed.
func TestOnlyPassedDescriptorsAreSeen(t *testing.T) {
	root := hostDirectory(t)
	leaked := []*os.File{root, root, root, root, root}
	streams := regexp.MustCompile(`^0 pipe:\S+\n1 pipe:\S+\n2 pipe:\S+\n$`)
	passed := regexp.MustCompile(`^0 pipe:\S+\n1 pipe:\S+\n2 pipe:\S+\n3 /\n$`)

	b := newBox(t, withArgs("/bin/attacker", "descriptors"))
	for _, c := range []struct {
		name  string
		flags []string
		want  *regexp.Regexp
	}{
		{"run", nil, streams},
		{"run --init", []string{"--init"}, streams},
		{"control: run --preserve-fds 1", []string{"--preserve-fds", "1"}, passed},
		{"control: run --init --preserve-fds 1", []string{"--init", "--preserve-fds", "1"}, passed},
	} {
		args := append(append([]string{"run"}, c.flags...), b.dir, b.id)
		if o := b.callWith(leaked, args...); !c.want.MatchString(o.stdout) {
			t.Errorf("%s: %v", c.name, o)
		}
	}

	b.write()
	b.start()
	for _, c := range []struct {
		flags []string
		want  *regexp.Regexp
	}{{nil, streams}, {[]string{"--preserve-fds", "1"}, passed}} {
		args := append(append([]string{"exec"}, c.flags...), b.id, "/bin/attacker", "descriptors")
		if o := b.callWith(leaked, args...); !c.want.MatchString(o.stdout) {
			t.Errorf("exec %v: %v", c.flags, o)
		}
	}
}

// TestDetachedProgramsSeeTheirStreamsAlone: without a supervisor a program has the streams of whoever created it, and
// nothing else of that, of who starts it, or of the pipes by which it was made and started.
func TestDetachedProgramsSeeTheirStreamsAlone(t *testing.T) {
	root := hostDirectory(t)
	leaked := []*os.File{root, root, root, root, root}
	for _, c := range []struct {
		name     string
		commands [][]string // the bundle's directory and the ID follow; the ID alone follows "start"
		rest     string
	}{
		{"create and start", [][]string{{"create"}, {"start"}}, ""},
		{"run --detach", [][]string{{"run", "--detach"}}, ""},
		{"run --detach --init", [][]string{{"run", "--detach", "--init"}}, ""},
		{"control: create --preserve-fds 1 and start", [][]string{{"create", "--preserve-fds", "1"}, {"start"}}, "3 /\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, withArgs("/bin/attacker", "descriptors"))
			t.Cleanup(b.remove)
			out, err := os.OpenFile(filepath.Join(filepath.Dir(b.dir), "out"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			for _, args := range c.commands {
				if args[0] != "start" {
					args = append(args, b.dir)
				}
				command := b.command(t.Context(), append(args, b.id)...)
				command.Stdout, command.Stderr, command.ExtraFiles = out, out, leaked
				if err := command.Run(); err != nil {
					t.Fatalf("%v: %v: %s", args, err, readString(t, out.Name()))
				}
			}
			for until := time.Now().Add(deadline); !strings.Contains(b.call("state", b.id).stdout, `"stopped"`); {
				if time.Now().After(until) {
					t.Fatal("it does not end")
				}
			}
			want := regexp.MustCompile(`^0 /dev/null\n1 \S+/out\n2 \S+/out\n` + c.rest + `$`)
			if said := readString(t, out.Name()); !want.MatchString(said) {
				t.Errorf("it sees:\n%s", said)
			}
		})
	}
}

// TestPID1HoldsNoDescriptorOfTheHost looks at the descriptors of the runtime's
// own PID 1 from a program with the right to do so.
func TestPID1HoldsNoDescriptorOfTheHost(t *testing.T) {
	root := hostDirectory(t)
	b := newBox(t, mightier, withArgs("/bin/attacker", "processes"))
	o := b.callWith([]*os.File{root, root}, "run", "--init", b.dir, b.id)
	if !strings.Contains(o.stdout, "1/0 ") {
		t.Fatalf("PID 1 was not looked at: %v", o)
	}
	for line := range strings.Lines(o.stdout) {
		if !regexp.MustCompile(`^1/\d+ (pipe:\[\d+\]|socket:\[\d+\]|/dev/null)$`).MatchString(strings.TrimSpace(line)) {
			t.Errorf("PID 1 holds %s", line)
		}
	}
	// Its end of a pair: what it reports on.
	if n := strings.Count(o.stdout, " socket:"); n != 1 {
		t.Errorf("PID 1 holds %d sockets, want 1", n)
	}
}

// TestHooksSeeNoDescriptor: a startContainer hook is a program of the image.
func TestHooksSeeNoDescriptor(t *testing.T) {
	root := hostDirectory(t)
	b := newBox(t)
	b.file("hook", "", 0o600)
	b.write(withArgs("/bin/attacker", "nap", "0s"), writableRoot, func(spec *specs.Spec) {
		spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/attacker", Args: []string{"attacker", "descriptors-to", "/hook"}}}}
	})
	if o := b.callWith([]*os.File{root, root, root}, "run", b.dir, b.id); o.code != 0 {
		t.Fatal(o)
	}
	data, err := os.ReadFile(filepath.Join(b.rootfs, "hook"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^0 pipe:\S+\n1 pipe:\S+\n2 pipe:\S+\n$`).Match(data) {
		t.Errorf("the hook sees:\n%s", data)
	}
}
