package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

// The test binary is also a supervisor that runs nothing, and a program that launches
// one: what is started and killed below are real processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "env-supervisor" {
		os.Exit(fakeSupervisor())
	}
	if len(os.Args) > 1 && os.Args[1] == "launch" {
		os.Exit(launcher(os.Args[2]))
	}
	if len(os.Args) > 1 && lives[os.Args[1]] != nil {
		os.Exit(live(lives[os.Args[1]], os.Args[2]))
	}
	code := m.Run()
	for _, pattern := range []string{"/sys/fs/cgroup/*/sandboxrun-env-", "/sys/fs/cgroup/sandboxrun-env-"} {
		if left, _ := filepath.Glob(pattern + testName("*")); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "cgroups left behind: %v\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// testName is a name that no test of another process has.
func testName(name string) string { return fmt.Sprintf("launchtest%d-%s", os.Getpid(), name) }

// What a fake supervisor does is in the plan's Dir.
const (
	serve       = "/serve"
	dieAtOnce   = "/die at once"
	dieLater    = "/die after the handover"
	neverAnswer = "/never answer"
)

func fakeSupervisor() int {
	// As PID 1 a signal without a handler would be ignored.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if len(os.Args) > 2 && strings.HasSuffix(os.Args[2], "-stillborn") {
		fmt.Fprintln(os.Stderr, "stillborn")
		return 3
	}
	h, err := environment.TakeOver()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch h.Plan.Dir {
	case dieAtOnce:
		return 1
	case dieLater:
		fmt.Fprintln(os.Stderr, "first line\nthe bridge is on fire")
		return 1
	case neverAnswer:
		<-signals
		return 0
	}
	listener, err := control.Inherit(h.Descriptors.Control)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fake := &fakeHandler{handover: h, stop: make(chan struct{})}
	server := control.NewServer(fake, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	lifeline := make(chan struct{})
	if h.Descriptors.Lifeline != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.NewFile(uintptr(h.Descriptors.Lifeline), "lifeline"))
			close(lifeline)
		}()
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case <-signals:
	case <-fake.stop:
	case <-lifeline:
	case err := <-served:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fakeHandler tells in its status what was handed over.
type fakeHandler struct {
	handover *environment.Handover
	stop     chan struct{}
}

func (f *fakeHandler) Status() control.Status {
	s := control.Status{Name: f.handover.Plan.Name, Phase: control.Running}
	var ports []control.PublishedPort
	for _, p := range f.handover.Ports {
		ports = append(ports, control.PublishedPort{HostIP: p.HostIP.String(), HostPort: p.HostPort, Target: p.Target, Protocol: p.Protocol})
	}
	var secrets []string
	for _, c := range f.handover.Secrets {
		secrets = append(secrets, c.Name+"="+string(c.Content))
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	source := ""
	if f.handover.Egress != nil {
		_, err := net.InterfaceByName(egress.Uplink)
		host, hostErr := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.handover.Descriptors.HostNetwork))
		own, ownErr := os.Readlink("/proc/self/ns/net")
		isHost := hostErr == nil && ownErr == nil && strings.HasPrefix(host, "net:") && host != own
		source = fmt.Sprintf("interface %v, host's namespace %v", err == nil, isHost)
	}
	environ := strings.Join(os.Environ(), "\n")
	s.Instances = []control.InstanceStatus{{Service: f.handover.Cgroup, Name: string(groups), Ports: ports, Command: append(secrets, environ), Index: os.Getpid(), Source: source}}
	return s
}

func (f *fakeHandler) Stats(context.Context) ([]control.InstanceStats, error) { return nil, nil }

func (f *fakeHandler) Stop(control.StopRequest) error {
	close(f.stop)
	return nil
}

func (f *fakeHandler) Exec(context.Context, control.ExecRequest, []*os.File, func(control.ExecStarted)) (control.ExecExit, error) {
	return control.ExecExit{}, errors.New("no")
}

// order is what a launcher is told.
type order struct {
	Roots         environment.Roots
	Plan          *plan.Plan
	DieWithParent bool
}

// launcher launches what the JSON text says and waits for the end of its input.
func launcher(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	opts := Options{Roots: o.Roots, Plan: o.Plan, DieWithParent: o.DieWithParent, Executable: "/proc/self/exe"}
	if _, err := Launch(context.Background(), opts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces and cgroups need root")
	}
}

// testOptions are for an environment below a directory of the test.
func testOptions(t *testing.T, name, behaviour string) Options {
	t.Helper()
	requireRoot(t)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Roots:      environment.Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")},
		Plan:       &plan.Plan{Version: plan.Version, Name: testName(name), Dir: behaviour},
		Executable: self,
		Lookup:     func(string) (string, bool) { return "", false },
	}
	t.Cleanup(func() {
		if err := opts.Roots.Remove(context.Background(), opts.Plan.Name, environment.RemoveOptions{Kill: true}); err != nil {
			t.Errorf("remove after the test: %v", err)
		}
		requireNothing(t, opts.Roots)
	})
	return opts
}

// requireNothing asserts that no environment has anything on disk below roots.
func requireNothing(t *testing.T, roots environment.Roots) {
	t.Helper()
	if left := leftOnDisk(roots); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func leftOnDisk(roots environment.Roots) []string {
	var left []string
	for _, dir := range []string{
		filepath.Join(roots.State, "environments"), filepath.Join(roots.State, "environment-locks"), filepath.Join(roots.Data, "environments"),
	} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, err.Error())
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left
}
