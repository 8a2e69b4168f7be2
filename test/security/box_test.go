package security_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
)

// deadline is for one command; none needs a tenth of it.
const deadline = 30 * time.Second

// lifetime is for a sandbox in the background, below go test's own limit. A
// thousand execs by a test binary with the race detector take a minute and more.
const lifetime = 5 * time.Minute

// box is a bundle with the attacker in it and what the test keeps on the host
// for it to look for.
type box struct {
	t      *testing.T
	id     string
	dir    string // the bundle
	rootfs string
	state  string // --root
	marker string // a file of the host, outside the root filesystem
}

// markerText is what the marker says.
const markerText = "the host was here"

// newBox makes a bundle of the default spec with the edits, and watches the host
// until the test's end.
func newBox(t *testing.T, edits ...func(*specs.Spec)) *box {
	t.Helper()
	requireRoot(t)
	// Not t.TempDir: sockets and IDs need a short path, and a failing sandbox is removed before it.
	top, err := os.MkdirTemp(shared.dir, "box-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	b := &box{
		t: t, id: shared.nonce + "-" + strings.TrimPrefix(filepath.Base(top), "box-"), dir: filepath.Join(top, "bundle"),
		rootfs: filepath.Join(top, "bundle", "rootfs"), state: filepath.Join(top, "state"), marker: filepath.Join(top, "marker"),
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		b.mkdir(dir)
	}
	if err := os.Link(shared.attacker, filepath.Join(b.rootfs, "bin", "attacker")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.marker, []byte(markerText), 0o644); err != nil {
		t.Fatal(err)
	}
	b.write(edits...)
	watchHost(t, b)
	return b
}

// write makes the config.json anew.
func (b *box) write(edits ...func(*specs.Spec)) {
	b.t.Helper()
	spec, err := bundles.Default(bundles.WithTerminal(false), bundles.WithArgs("/bin/attacker", "sleep"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, edit := range edits {
		edit(spec)
	}
	config := filepath.Join(b.dir, bundles.ConfigFile)
	if err := os.Remove(config); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	if err := bundles.Write(b.dir, spec); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) mkdir(name string) string {
	b.t.Helper()
	path := filepath.Join(b.rootfs, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// symlink replaces what is at name in the root filesystem by a link.
func (b *box) symlink(target, name string) {
	b.t.Helper()
	b.place(name, func(path string) error { return os.Symlink(target, path) })
}

func (b *box) file(name, content string, mode os.FileMode) {
	b.t.Helper()
	b.place(name, func(path string) error { return os.WriteFile(path, []byte(content), mode) })
}

func (b *box) node(name string, mode uint32, major, minor uint32) {
	b.t.Helper()
	b.place(name, func(path string) error { return unix.Mknod(path, mode, int(unix.Mkdev(major, minor))) })
}

func (b *box) place(name string, put func(path string) error) {
	b.t.Helper()
	path := filepath.Join(b.rootfs, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.RemoveAll(path))
	if err == nil {
		err = put(path)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// outcome is how a command ended.
type outcome struct {
	code   int // -1 if it had to be killed at the deadline
	stdout string
	stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", o.code, o.stdout, o.stderr)
}

// command is sandboxrun with the box's state root.
func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, shared.binary, append([]string{"--root", b.state}, args...)...)
	command.Env = []string{"PATH=/usr/bin:/bin"}
	command.WaitDelay = time.Second
	return command
}

// call runs sandboxrun to its end.
func (b *box) call(args ...string) outcome { return b.callWith(nil, args...) }

// callWith hands descriptors 3, 4, … to sandboxrun, as a careless caller would.
func (b *box) callWith(files []*os.File, args ...string) outcome {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), deadline)
	defer cancel()
	command := b.command(ctx, args...)
	command.ExtraFiles = files
	o := finish(ctx, command)
	if o.code < 0 {
		b.remove() // the test fails for its own reasons; the machine stays clean
	}
	return o
}

// remove ends what is left of the box's sandbox.
func (b *box) remove() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), deadline)
	defer cancel()
	if text, err := b.command(ctx, "delete", "--force", b.id).CombinedOutput(); err != nil {
		b.t.Errorf("delete: %v: %s", err, text)
	}
}

// pid is the host's number of the box's first process.
func (b *box) pid() int {
	b.t.Helper()
	var state struct{ Pid int }
	if err := json.Unmarshal([]byte(b.call("state", b.id).stdout), &state); err != nil || state.Pid == 0 {
		b.t.Fatalf("no process to find: %v", err)
	}
	return state.Pid
}

func finish(ctx context.Context, command *exec.Cmd) outcome {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	o := outcome{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if ctx.Err() != nil || command.ProcessState == nil {
		o.code = -1
		o.stderr += fmt.Sprint(err)
	}
	return o
}

// run runs the box with the given flags.
func (b *box) run(flags ...string) outcome {
	b.t.Helper()
	return b.call(append(append([]string{"run"}, flags...), b.dir, b.id)...)
}

// exec runs another attack in the running box; flags stand before "--".
func (b *box) exec(args ...string) outcome {
	b.t.Helper()
	at := slices.Index(args, "--")
	return b.call(slices.Concat([]string{"exec"}, args[:max(at, 0)], []string{b.id}, args[at+1:])...)
}

// living is a sandbox that runs in the background.
type living struct {
	t       *testing.T
	command *exec.Cmd
	stdin   io.Closer
	lines   chan string
	stderr  *bytes.Buffer
	ended   chan struct{}
}

// start runs the box in the background until its program says "ready".
func (b *box) start(flags ...string) *living {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), lifetime)
	l := background(b.t, b.command(ctx, append(append([]string{"run"}, flags...), b.dir, b.id)...))
	b.t.Cleanup(func() {
		defer cancel()
		l.stdin.Close()
		l.command.Process.Kill() //nolint:errcheck // it may have ended
		<-l.ended
		b.remove()
	})
	l.ready()
	return l
}

// background starts any program that says "ready" and ends with its input.
func background(t *testing.T, command *exec.Cmd) *living {
	t.Helper()
	l := &living{t: t, command: command, lines: make(chan string, 1<<16), stderr: &bytes.Buffer{}, ended: make(chan struct{})}
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.stdin = stdin
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = l.stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			l.lines <- scanner.Text()
		}
		close(l.lines)
		command.Wait() //nolint:errcheck // how it ended is in ProcessState
	}()
	return l
}

func (l *living) ready() {
	l.t.Helper()
	for line := range l.lines {
		if line == "ready" {
			return
		}
	}
	<-l.ended
	l.t.Fatalf("it ended before it was ready: %s", l.stderr)
}

// finish ends its input, waits for it, and returns what it said since "ready".
func (l *living) finish() string {
	l.t.Helper()
	l.stdin.Close()
	var said strings.Builder
	for line := range l.lines {
		said.WriteString(line + "\n")
	}
	<-l.ended
	if l.stderr.Len() > 0 {
		said.WriteString("stderr: " + l.stderr.String())
	}
	return said.String()
}

// onHost runs an attack outside any sandbox, in a mount namespace of its own
// whose mounts do not spread: the control.
func onHost(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	command := exec.CommandContext(ctx, shared.attacker, args...)
	command.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	return finish(ctx, command)
}

// watchHost fails the test if what no sandbox may touch is another afterwards.
func watchHost(t *testing.T, b *box) {
	t.Helper()
	before := hostView(b)
	t.Cleanup(func() {
		after := hostView(b)
		for what, was := range before {
			if after[what] != was {
				t.Errorf("the host was touched: %s was %q and is %q", what, was, after[what])
			}
		}
	})
}

func hostView(b *box) map[string]string {
	view := map[string]string{}
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/sysrq", "/proc/sys/kernel/modprobe", "/etc/passwd",
		shared.binary, shared.attacker, b.marker,
	} {
		data, err := os.ReadFile(path)
		view[path] = fmt.Sprintf("%x %v", sha256.Sum256(data), err)
	}
	for _, path := range []string{"/dev/null", "/dev/console", "/dev/ptmx"} {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		view[path] = fmt.Sprint(st.Mode, st.Rdev, st.Uid, err)
	}
	// Others work on this machine: only the places that a sandbox aims at count.
	var mounts []string
	for _, line := range hostMounts() {
		fields := strings.Fields(line)
		point := fields[1]
		for _, dir := range []string{"/proc", "/sys", "/dev", "/etc", "/bin", "/usr", shared.dir} {
			if point == "/" || point == dir || strings.HasPrefix(point, dir+"/") {
				mounts = append(mounts, line)
				break
			}
		}
	}
	slices.Sort(mounts)
	view["mounts"] = strings.Join(mounts, "\n")
	return view
}

// mightier gives a sandbox all that the default spec takes away. It is for
// controls, with attacks that harm nothing.
func mightier(spec *specs.Spec) {
	all := []string{
		"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_MKNOD", "CAP_SYS_CHROOT", "CAP_DAC_READ_SEARCH", "CAP_NET_RAW", "CAP_NET_ADMIN",
		"CAP_SYSLOG", "CAP_PERFMON", "CAP_BPF", "CAP_KILL", "CAP_SYS_RAWIO",
	}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	spec.Process.NoNewPrivileges = false
	spec.Root.Readonly = false
	spec.Linux.Seccomp = nil
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	for i := range spec.Mounts {
		spec.Mounts[i].Options = slices.DeleteFunc(spec.Mounts[i].Options, func(o string) bool { return o == "ro" })
	}
}

func withArgs(args ...string) func(*specs.Spec) { return bundles.WithArgs(args...) }

func withoutNamespace(kind specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
	}
}

func withoutMount(destination string) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == destination })
	}
}

func bind(source, destination string) specs.Mount {
	return specs.Mount{Type: "bind", Source: source, Destination: destination, Options: []string{"rbind", "rw"}}
}
