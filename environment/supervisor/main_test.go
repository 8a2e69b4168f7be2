package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/samples"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/environment/supervisor"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// asSupervisor is the argument by which this test binary becomes PID 1 of an
// environment.
const asSupervisor = "supervise-an-environment"

// workload is a static program that does what its arguments say.
var workload string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asSupervisor {
		os.Exit(supervise())
	}
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "sandboxrun-supervisor-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			workload, err = buildWorkload(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// buildWorkload takes the prebuilt program where there is no Go toolchain.
func buildWorkload(dir string) (string, error) {
	if prebuilt := os.Getenv("SANDBOXRUN_BUNDLES"); prebuilt != "" {
		return filepath.Join(prebuilt, "workload", "rootfs", "bin", "workload"), nil
	}
	_, err := samples.Build(context.Background(), dir, "workload")
	return filepath.Join(dir, "workload", "rootfs", "bin", "workload"), err
}

// supervise is what the hidden command of sandboxrun does, and looks for goroutines
// that are left.
func supervise() int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := supervisor.Main(context.Background(), log); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	// See runtime.KeepFirstThread.
	own, _ := os.Readlink("/proc/self/ns/mnt")
	if thread, _ := os.Readlink("/proc/thread-self/ns/mnt"); own != thread {
		fmt.Fprintln(os.Stderr, "error: the first thread is in the mount namespace", own, "and not in", thread)
		return 1
	}
	if err := goleak.Find(goleak.IgnoreAnyFunction("os/signal.loop")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// env is an environment of a test.
type env struct {
	t       *testing.T
	plan    *plan.Plan
	roots   environment.Roots
	paths   environment.Paths
	store   *store.Store
	cgroup  *cgroup.Group
	client  *control.Client
	command *exec.Cmd
	ended   chan struct{} // closed when the supervisor has
	err     error         // of it, then
	stderr  bytes.Buffer  // the same

	lifeline *os.File

	mu      sync.Mutex
	events  []control.Event // guarded by mu
	changed chan struct{}   // closed at the next one; guarded by mu
}

// svc is a service of the workload program.
func svc(name string, args ...string) plan.ServiceRequest {
	return plan.ServiceRequest{
		Service: plan.Service{
			Name: name, Image: plan.Image{Source: "binary:" + workload}, StopGrace: 5 * time.Second, Attach: true,
			Sandbox: service.Service{Name: name, Entrypoint: append([]string{"/workload"}, args...), Command: []string{}},
		},
		Replicas: 1, Networks: []plan.Membership{{Network: "default"}},
	}
}

// shell is a service with a view of this host's root.
func shell(name, script string) plan.ServiceRequest {
	s := svc(name)
	s.Image = plan.Image{Host: true}
	s.Sandbox.Entrypoint = []string{"/bin/sh", "-c", script}
	return s
}

// after makes s depend on others.
func after(s plan.ServiceRequest, dependencies ...plan.Dependency) plan.ServiceRequest {
	s.DependsOn = append(s.DependsOn, dependencies...)
	return s
}

// up launches an environment. Everything of it is gone at the end of the test, or
// the test fails.
func up(t *testing.T, change func(*plan.Draft, *environment.Handover), services ...plan.ServiceRequest) *env {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces")
	}
	dir, err := os.MkdirTemp("", "sandboxrun-env-") //nolint:usetesting // a socket's path has room for 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	e := &env{t: t, changed: make(chan struct{}), ended: make(chan struct{})}
	e.roots = environment.Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")}
	draft := plan.Draft{Networks: []plan.NetworkRequest{{Name: "default"}}, Services: services}
	draft.Plan.Name = environment.NameFrom(t.Name())
	handover := &environment.Handover{Roots: e.roots}
	if change != nil {
		change(&draft, handover)
	}
	if e.plan, err = draft.Complete(); err != nil {
		t.Fatal(err)
	}
	handover.Plan, handover.Cgroup = e.plan, "/sandboxrun-env-"+e.plan.Name
	e.paths = e.roots.Of(e.plan.Name)
	e.bringImages()
	e.launch(handover)
	return e
}

func (e *env) bringImages() {
	e.t.Helper()
	if err := os.MkdirAll(e.roots.Data, 0o700); err != nil {
		e.t.Fatal(err)
	}
	var err error
	if e.store, err = store.Open(e.roots.Data); err != nil {
		e.t.Fatal(err)
	}
	bring := func(i *plan.Image) {
		if i == nil || i.Source == "" {
			return
		}
		source, err := image.ParseSource(i.Source, "/")
		if err != nil {
			e.t.Fatal(err)
		}
		stored, err := image.Load(e.t.Context(), e.store, source, image.Options{})
		if err != nil {
			e.t.Fatal(err)
		}
		i.Digest, i.Reference = stored.Digest, stored.Reference
	}
	for n := range e.plan.Services {
		bring(&e.plan.Services[n].Image)
	}
}

// launch does by hand what package launch does: a test of the supervisor is to see
// the supervisor's faults alone.
func (e *env) launch(handover *environment.Handover) {
	t := e.t
	t.Helper()
	for _, dir := range []string{e.paths.Dir, filepath.Dir(e.paths.Lock)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	host, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	if e.cgroup, err = host.Group(handover.Cgroup); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(e.paths.Lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(e.paths.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	controlFile, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer controlFile.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.lifeline = os.NewFile(uintptr(pair[0]), "lifeline")
	theirs := os.NewFile(uintptr(pair[1]), "lifeline of the supervisor")
	defer theirs.Close()
	handover.Descriptors = environment.Descriptors{Lock: 4, Control: 5, Lifeline: 6}

	e.command = exec.Command("/proc/self/exe", asSupervisor)
	e.command.ExtraFiles = []*os.File{reader, lock, controlFile, theirs}
	for _, p := range handover.Ports {
		own, err := unix.Dup(p.Descriptor) // that of the caller is the caller's to close
		if err != nil {
			t.Fatal(err)
		}
		port := os.NewFile(uintptr(own), "port")
		defer port.Close()
		e.command.ExtraFiles = append(e.command.ExtraFiles, port)
	}
	for n := range handover.Ports {
		handover.Ports[n].Descriptor = 7 + n
	}
	e.command.Stderr = &e.stderr
	e.command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC, Setpgid: true,
		Pdeathsig: syscall.SIGKILL,
	}
	if err := e.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(e.ended)
		e.err = e.command.Wait()
	}()
	if err := environment.WriteHandover(writer, handover); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	e.client = control.NewClient(e.paths.Control)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if err := e.client.Watch(context.Background(), e.see); err != nil {
			e.t.Logf("watch: %v", err)
		}
	}()
	t.Cleanup(func() { <-watching })
	t.Cleanup(e.checkGone)
	t.Cleanup(func() { e.lifeline.Close() })
}

func (e *env) see(event control.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// checkGone ends the supervisor if it lives, and looks for what must not be left.
func (e *env) checkGone() {
	select {
	case <-e.ended:
	case <-time.After(20 * time.Second):
		e.t.Error("the supervisor does not end")
		// So that it says where it hangs.
		if err := e.command.Process.Signal(syscall.SIGQUIT); err != nil {
			e.t.Error(err)
		}
		<-e.ended
	}
	if e.t.Failed() {
		e.t.Logf("supervisor: %v\n%s", e.err, e.stderr.String())
		for _, event := range e.history() {
			line, _ := json.Marshal(event)
			if len(line) > 300 {
				line = line[:300]
			}
			e.t.Logf("%s", line)
		}
	}
	left := e.left()
	if err := e.cgroup.Kill(context.Background()); err != nil {
		e.t.Error(err)
	}
	if err := e.cgroup.Remove(context.Background()); err != nil {
		e.t.Error(err)
	}
	if len(left) > 0 {
		e.t.Errorf("left behind: %q", left)
	}
}

// left names what the supervisor should have removed.
func (e *env) left() (left []string) {
	processes, err := e.cgroup.Processes()
	if err != nil {
		e.t.Error(err)
	}
	for _, pid := range processes {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	for _, pattern := range []string{
		filepath.Join(e.paths.Containers, "*", "*"), filepath.Join(e.paths.Bundles, "*"),
		filepath.Join(e.roots.Data, "bundles", "*", "*"), filepath.Join(e.roots.Data, "leases", "*"),
		"/sys/fs/cgroup/*/sandboxrun-env-" + e.plan.Name + "/*/",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			e.t.Error(err)
		}
		left = append(left, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e.t.Error(err)
	}
	if strings.Contains(string(mounts), e.roots.State) || strings.Contains(string(mounts), e.roots.Data) {
		left = append(left, "mounts")
	}
	return left
}

func (e *env) history() []control.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events)
}

// waitFor returns the first event that matches; what is the text of a failure.
func (e *env) waitFor(what string, matches func(control.Event) bool) control.Event {
	e.t.Helper()
	deadline := time.After(30 * time.Second)
	for seen := 0; ; {
		e.mu.Lock()
		events, changed := e.events[seen:], e.changed
		e.mu.Unlock()
		for _, event := range events {
			if matches(event) {
				return event
			}
		}
		seen += len(events)
		select {
		case <-changed:
		case <-e.ended:
			// What came last may not have been read yet.
			select {
			case <-changed:
			case <-time.After(time.Second):
				e.t.Fatalf("the supervisor ended before: %s", what)
			}
		case <-deadline:
			e.t.Fatalf("it did not happen: %s", what)
		}
	}
}

func (e *env) waitPhase(phase control.Phase) {
	e.t.Helper()
	e.waitFor(string(phase), func(event control.Event) bool { return event.Kind == control.EventPhase && event.Phase == phase })
}

func (e *env) waitEvent(instance string, kind control.EventKind) control.Event {
	e.t.Helper()
	return e.waitFor(instance+" "+string(kind), func(event control.Event) bool { return event.Instance == instance && event.Kind == kind })
}

// down stops the environment and expects a good end.
func (e *env) down() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 30*time.Second)
	defer cancel()
	// Says where it hangs, before the end of ctx lets it go.
	late := time.AfterFunc(15*time.Second, func() { e.command.Process.Signal(syscall.SIGQUIT) }) //nolint:errcheck // it has ended
	defer late.Stop()
	if err := e.client.Stop(ctx, control.StopRequest{Reason: "down"}, nil); err != nil {
		e.t.Error(err)
	}
	e.waitEnd()
}

func (e *env) waitEnd() {
	e.t.Helper()
	select {
	case <-e.ended:
	case <-time.After(20 * time.Second):
		e.t.Fatal("the supervisor does not end")
	}
	if e.err != nil {
		e.t.Errorf("supervisor: %v", e.err)
	}
}

// order returns the index of the first event of an instance; it fails without one.
func (e *env) order(instance string, kind control.EventKind) int {
	e.t.Helper()
	n := slices.IndexFunc(e.history(), func(event control.Event) bool { return event.Instance == instance && event.Kind == kind })
	if n < 0 {
		e.t.Errorf("there was no event %s of %s", kind, instance)
	}
	return n
}

// output is what an instance has printed.
func (e *env) output(instance string) string {
	data, err := os.ReadFile(filepath.Join(e.paths.Logs, instance+".log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.t.Error(err)
	}
	return string(data)
}

// waitOutput waits until an instance has printed something.
func (e *env) waitOutput(instance, text string) {
	e.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(e.output(instance), text); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("%s has not printed %q but %q", instance, text, e.output(instance))
		}
	}
}

// count is how many events of a kind there were.
func (e *env) count(instance string, kind control.EventKind) (n int) {
	for _, event := range e.history() {
		if event.Instance == instance && event.Kind == kind {
			n++
		}
	}
	return n
}

// exitCode is that of an instance's last end.
func (e *env) exitCode(instance string) (code int) {
	code = -1
	for _, event := range e.history() {
		if event.Instance == instance && event.Kind == control.EventExited {
			code = *event.ExitCode
		}
	}
	return code
}

// report is what is kept of an instance.
func (e *env) report(instance string) (report struct {
	Service  string
	Restarts int
	Failure  *control.Failure
	Starts   []runtime.Report
}) {
	e.t.Helper()
	data, err := os.ReadFile(filepath.Join(e.paths.Reports, instance+".json"))
	if err == nil {
		err = json.Unmarshal(data, &report)
	}
	if err != nil {
		e.t.Error(err)
	}
	return report
}

// waitNoProcess waits until no process of the environment has text in its command
// line, in which zero bytes are between arguments.
func (e *env) waitNoProcess(text string) {
	e.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		processes, err := e.cgroup.Processes()
		if err != nil {
			e.t.Fatal(err)
		}
		found := slices.ContainsFunc(processes, func(pid int) bool {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			return err == nil && bytes.Contains(line, []byte(text))
		})
		if !found {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("a process is left: %q", text)
		}
	}
}
