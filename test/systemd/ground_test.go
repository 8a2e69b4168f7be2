package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// patience is for what is quick on a machine that is not emulated.
const patience = 2 * time.Minute

// ground is a caller, with what one test needs.
type ground struct {
	t    *testing.T
	name string // begins all IDs
	dir  string
	uid  uint32 // of the caller
	path string // PATH
	env  []string
	root string // the state root, of every runtime
}

var grounds atomic.Int32

func newGround(t *testing.T, uid uint32) *ground {
	t.Helper()
	requireVM(t)
	name := fmt.Sprintf("sdt%d", grounds.Add(1))
	g := &ground{
		t: t, name: name, uid: uid, dir: filepath.Join("/var/tmp", name),
		path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if err := errors.Join(os.Mkdir(g.dir, 0o755), os.Chown(g.dir, int(uid), int(uid))); err != nil {
		t.Fatal(err)
	}
	g.root = filepath.Join(g.dir, "state")
	if uid != 0 {
		g.env = []string{"HOME=/home/tester", "USER=tester", "XDG_RUNTIME_DIR=" + testerRuntimeDir}
		g.root = filepath.Join(testerRuntimeDir, "sandboxrun")
	}
	t.Cleanup(g.end)
	return g
}

func (g *ground) end() {
	g.t.Helper()
	var found []string
	// systemd unloads a unit a moment after its last process was reaped.
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if found = g.leftovers(); len(found) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(found) > 0 {
		g.t.Errorf("left behind:\n\t%s", strings.Join(found, "\n\t"))
	}
	if err := os.RemoveAll(g.dir); err != nil {
		g.t.Error(err)
	}
}

// leftovers describes what exists of the test.
func (g *ground) leftovers() []string {
	found := g.units()
	for _, pattern := range []string{"*", "*/*", "*/*/*", "*/*/*/*", "*/*/*/*/*"} {
		dirs, _ := filepath.Glob("/sys/fs/cgroup/" + pattern)
		for _, dir := range dirs {
			if strings.Contains(filepath.Base(dir), g.name+"-") {
				found = append(found, "cgroup "+dir)
			}
		}
	}
	for _, pid := range processes() {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		group, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		ours := slices.Contains([]string{"workload", "sandboxrun", "runc"}, strings.TrimSpace(string(comm)))
		if ours || strings.Contains(string(group), g.name+"-") {
			found = append(found, fmt.Sprintf("process %d %s", pid, comm))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, g.dir+"/") {
			found = append(found, "mount "+line)
		}
	}
	for _, dir := range []string{"containers", "locks", "."} {
		entries, _ := os.ReadDir(filepath.Join(g.root, dir))
		for _, e := range entries {
			if strings.Contains(e.Name(), g.name+"-") {
				found = append(found, "state "+filepath.Join(g.root, dir, e.Name()))
			}
		}
	}
	return found
}

// units lists the units of the test that systemd and tester's manager know, one
// that failed included.
func (g *ground) units() []string {
	var found []string
	for _, manager := range []string{"--system", "--user"} {
		o := g.as(tester).run("systemctl", manager, "list-units", "--all", "--plain", "--no-legend", "*"+g.name+"-*")
		for line := range strings.Lines(o.stdout) {
			found = append(found, "unit "+strings.TrimSpace(line))
		}
		if o.code != 0 {
			found = append(found, "no answer from systemctl "+manager+": "+o.stderr)
		}
	}
	return found
}

// processes lists the living ones.
func processes() []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if _, state, found := strings.Cut(string(stat), ") "); err == nil && found && state[0] != 'Z' {
			pids = append(pids, pid)
		}
	}
	return pids
}

// with is the same ground in a subtest.
func (g *ground) with(t *testing.T) *ground {
	t.Helper()
	other := *g
	other.t = t
	return &other
}

// as is the same ground with another caller.
func (g *ground) as(uid uint32) *ground {
	other := *g
	other.uid = uid
	other.env = []string{"XDG_RUNTIME_DIR=" + testerRuntimeDir}
	return &other
}

func (g *ground) id(suffix string) string { return g.name + "-" + suffix }

// outcome is how a command ended.
type outcome struct {
	code           int // 128+n for signal n
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
}

func (g *ground) run(name string, args ...string) outcome {
	g.t.Helper()
	o, err := g.start(name, args...).wait(patience)
	if err != nil {
		g.t.Fatalf("%s %q: %v: %v", name, args, err, o)
	}
	return o
}

// sandboxrun runs the program, its state where its user's default is.
func (g *ground) sandboxrun(args ...string) outcome {
	g.t.Helper()
	return g.run(os.Getenv("SANDBOXRUN_BIN"), g.rooted(args)...)
}

func (g *ground) rooted(args []string) []string {
	if g.uid == 0 {
		return append([]string{"--root", g.root}, args...)
	}
	return args
}

// must is a sandboxrun that succeeds.
func (g *ground) must(args ...string) outcome {
	g.t.Helper()
	o := g.sandboxrun(args...)
	if o.code != 0 {
		g.t.Fatalf("sandboxrun %q: %v", args, o)
	}
	return o
}

// job is a command that was started. Its output goes to files: a detached
// container keeps them open.
type job struct {
	cmd    *exec.Cmd
	out    [2]*os.File
	cancel context.CancelFunc
}

func (g *ground) start(name string, args ...string) *job {
	g.t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{cmd: exec.CommandContext(ctx, program, args...), cancel: cancel}
	for i := range j.out {
		if j.out[i], err = os.OpenFile(g.t.TempDir(), unix.O_TMPFILE|os.O_RDWR, 0o600); err != nil {
			g.t.Fatal(err)
		}
	}
	j.cmd.Stdout, j.cmd.Stderr = j.out[0], j.out[1]
	j.cmd.Dir = g.dir
	j.cmd.Env = append([]string{"PATH=" + g.path, "LANG=C.UTF-8"}, g.env...)
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: g.uid, Gid: g.uid}}
	if err := j.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	return j
}

var errLate = errors.New("did not end in time")

func (j *job) wait(limit time.Duration) (outcome, error) {
	late := time.AfterFunc(limit, j.cancel)
	err := j.cmd.Wait()
	ended := late.Stop()
	j.cancel()
	var o outcome
	for i, to := range []*string{&o.stdout, &o.stderr} {
		if _, err := j.out[i].Seek(0, io.SeekStart); err != nil {
			return o, err
		}
		data, err := io.ReadAll(j.out[i])
		if err != nil {
			return o, err
		}
		*to = string(data)
		j.out[i].Close()
	}
	if j.cmd.ProcessState == nil {
		return o, err
	}
	status := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if o.code = status.ExitStatus(); status.Signaled() {
		o.code = 128 + int(status.Signal())
	}
	if !ended {
		return o, errLate
	}
	return o, nil
}

// bundle makes one around the workload program, with busybox beside it, that is
// the caller's own.
func (g *ground) bundle(name string, edit func(*specs.Spec)) string {
	g.t.Helper()
	dir := g.rootfs(name)
	data, err := os.ReadFile(filepath.Join(os.Getenv("SANDBOXRUN_BUNDLES"), "workload", "config.json"))
	if err != nil {
		g.t.Fatal(err)
	}
	config := filepath.Join(dir, "config.json")
	if err := errors.Join(os.WriteFile(config, data, 0o644), os.Chown(config, int(g.uid), int(g.uid))); err != nil {
		g.t.Fatal(err)
	}
	g.edit(dir, edit)
	return dir
}

// rootfs makes a directory with a root filesystem, without a config.json.
func (g *ground) rootfs(name string) string {
	g.t.Helper()
	dir := filepath.Join(g.dir, name)
	err := os.Mkdir(dir, 0o755)
	for _, args := range [][]string{
		{"cp", "-a", filepath.Join(os.Getenv("SANDBOXRUN_BUNDLES"), "workload", "rootfs"), dir},
		{"cp", "/bin/busybox", dir + "/rootfs/bin/sh"},
		{"chown", "-R", fmt.Sprint(g.uid, ":", g.uid), dir},
	} {
		err = errors.Join(err, command(patience, args[0], args[1:]...))
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return dir
}

func (g *ground) edit(dir string, edit func(*specs.Spec)) {
	g.t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		g.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		g.t.Fatal(err)
	}
	edit(&spec)
	if data, err = json.Marshal(&spec); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		g.t.Fatal(err)
	}
}

func program(args ...string) func(*specs.Spec) {
	return func(spec *specs.Spec) { spec.Process.Args, spec.Process.Terminal = args, false }
}

func both(edits ...func(*specs.Spec)) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		for _, edit := range edits {
			edit(spec)
		}
	}
}

// show returns what systemctl show prints of a unit.
func (g *ground) show(manager, unit string, properties ...string) map[string]string {
	g.t.Helper()
	args := []string{manager, "show", unit}
	for _, p := range properties {
		args = append(args, "--property", p)
	}
	o := g.as(tester).run("systemctl", args...)
	if o.code != 0 {
		g.t.Fatalf("systemctl %q: %v", args, o)
	}
	shown := map[string]string{}
	for line := range strings.Lines(o.stdout) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		shown[name] = value
	}
	return shown
}

// oneLine fails unless o is a failure that says one line, with all of parts.
func (g *ground) oneLine(o outcome, parts ...string) {
	g.t.Helper()
	if o.code != 1 || strings.Count(o.stderr, "\n") != 1 {
		g.t.Errorf("want a failure with one line: %v", o)
	}
	for _, part := range parts {
		if !strings.Contains(o.stderr, part) {
			g.t.Errorf("want %q in %q", part, o.stderr)
		}
	}
}

// eventually polls until ready says "", or fails with what it said last.
func (g *ground) eventually(ready func() (problem string)) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		problem := ready()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatal(problem)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// state is a container's.
func (g *ground) state(id string) specs.State {
	g.t.Helper()
	var state specs.State
	if err := json.Unmarshal([]byte(g.must("state", id).stdout), &state); err != nil {
		g.t.Fatal(err)
	}
	return state
}

// waitFor waits until the container has the status.
func (g *ground) waitFor(id string, status specs.ContainerState) {
	g.t.Helper()
	g.eventually(func() string {
		o := g.sandboxrun("state", id)
		var state specs.State
		if o.code == 0 && json.Unmarshal([]byte(o.stdout), &state) == nil && state.Status == status {
			return ""
		}
		return fmt.Sprintf("%s is not %s: %v", id, status, o)
	})
}

// group returns the cgroup of a process, below the mount.
func (g *ground) group(pid int) string {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		g.t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(text)), "0::")
}
