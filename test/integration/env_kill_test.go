package integration_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// envKillRounds is how often something of an environment is killed.
func envKillRounds() int {
	if inVM() {
		return 14
	}
	return 70
}

// envFile is a small environment: one service waits for the other. A program that is
// told to stop before it has a handler, as PID 1, never hears of it: hence the grace.
const envFile = `
services:
  first:
    x-sandbox: {binary: ./box/rootfs/bin/workload, ready: {listen: 8080}}
    command: [http, ":8080"]
    expose: [8080]
    stop_grace_period: 500ms
    volumes: [data:/data]
  second:
    x-sandbox: {binary: ./box/rootfs/bin/workload}
    command: [sleep, 1h]
    stop_grace_period: 500ms
    depends_on: {first: {condition: service_healthy}}
volumes: {data: {}}
`

// envKills are what befalls an environment; rounds take turns.
var envKills = []struct {
	name string
	kill func(s *sandbox, name string, command *exec.Cmd)
}{
	{"command line", func(_ *sandbox, _ string, c *exec.Cmd) { c.Process.Kill() }},                             //nolint:errcheck // it may have ended
	{"process group", func(_ *sandbox, _ string, c *exec.Cmd) { unix.Kill(-c.Process.Pid, unix.SIGKILL) }},     //nolint:errcheck // it may have ended
	{"supervisor", func(_ *sandbox, name string, _ *exec.Cmd) { killOneOf(name, "/_supervisor") }},             // it may not be there yet
	{"service", func(_ *sandbox, name string, _ *exec.Cmd) { killOneOf(name, "/first-1") }},                    // nor this one
	{"interrupt", func(_ *sandbox, _ string, c *exec.Cmd) { c.Process.Signal(syscall.SIGINT) }},                //nolint:errcheck // it may have ended
	{"down", func(s *sandbox, name string, _ *exec.Cmd) { s.run("env", "down", "-q", "-t", "0", "-p", name) }}, //nolint:errcheck // there may be nothing to take down yet
	{"everything", func(_ *sandbox, name string, c *exec.Cmd) {
		unix.Kill(-c.Process.Pid, unix.SIGKILL) //nolint:errcheck // it may have ended
		killOneOf(name, "/_supervisor")
	}},
}

// killOneOf kills a process in the cgroup of that ending of the environment.
func killOneOf(name, ending string) {
	for _, dir := range cgroupsNamed("sandboxrun-env-" + name) {
		if !strings.HasSuffix(dir, ending) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for pid := range strings.FieldsSeq(string(data)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 0 {
				unix.Kill(n, unix.SIGKILL) //nolint:errcheck // it may have ended
				return
			}
		}
	}
}

// TestEnvironmentKilledAtAnyMomentLeavesNothing kills the command line, the
// supervisor, a service and all together at random moments between the first and the
// last step of `env test`. What survives ends by itself, gc removes the rest, and an
// environment beside is as it was.
func TestEnvironmentKilledAtAnyMomentLeavesNothing(t *testing.T) {
	s := newTestSandbox(t)
	random := rand.New(rand.NewPCG(seed(t), 0))
	if err := copyBundle("workload", filepath.Join(s.work, "box"), "true"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.work, "compose.yaml"), []byte(envFile), 0o644); err != nil {
		t.Fatal(err)
	}
	beside := s.id + "-beside"
	s.must("env", "up", "-d", "--wait", "-q", "-p", beside)
	before := s.must("env", "ps", "-q", "-p", beside)
	began := time.Now()
	s.must("env", "test", "-q", "--logs", "none", "-p", s.id+"-measured", "--", "true")
	duration := time.Since(began)
	tally := map[string]int{}
	var slowest time.Duration
	for i := range envKillRounds() {
		name, kill := fmt.Sprintf("%s-k%d", s.id, i), envKills[i%len(envKills)]
		delay := time.Duration(random.Int64N(int64(duration)))
		command := s.command("env", "test", "-q", "--logs", "none", "-p", name, "--", "true")
		var said bytes.Buffer
		command.Stderr = &said
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		// A descendant that keeps stderr is one that was left.
		command.WaitDelay = 5 * time.Second
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(delay)
		kill.kill(s, name, command)
		killed := time.Now()
		ended := make(chan struct{})
		go func() { defer close(ended); command.Wait() }() //nolint:errcheck // killed, or it tells why
		select {
		case <-ended:
		case <-time.After(patience()):
			t.Fatalf("round %d: %s killed after %v: the command line does not end: %v", i, kill.name, delay, findProcesses(name, "/none"))
		}
		err := eventually(2*time.Second, func() error {
			if found := findProcesses(name, "/none"); len(found) > 0 {
				return fmt.Errorf("%v", found)
			}
			return nil
		})
		took := time.Since(killed)
		slowest = max(slowest, took)
		if took > 3*time.Second && !inVM() {
			t.Errorf("round %d: %s after %v: it took %v until all was dead; the command line said %q", i, kill.name, delay, took, said.String())
		}
		if err != nil {
			t.Errorf("round %d: %s killed after %v: still running: %v", i, kill.name, delay, err)
		}
		left := len(remainsOf(s, name)) > 0
		tally[fmt.Sprintf("%s, left %v", kill.name, left)]++
		// Who could tidy up has.
		if left && (kill.name == "interrupt" || kill.name == "service" || kill.name == "supervisor" || kill.name == "down") {
			t.Errorf("round %d: %s after %v: the command line left %v and said %q", i, kill.name, delay, remainsOf(s, name), said.String())
		}
		// A supervisor that is dying holds the name still.
		err = eventually(2*time.Second, func() error {
			if collected := s.must("env", "gc"); strings.Contains(collected, beside) {
				t.Fatalf("round %d: gc took what lives: %q", i, collected)
			}
			if rest := remainsOf(s, name); len(rest) > 0 {
				return fmt.Errorf("%v", rest)
			}
			return nil
		})
		if err != nil {
			t.Errorf("round %d: %s killed after %v: gc left %v", i, kill.name, delay, err)
		}
		if t.Failed() && i > 20 {
			break
		}
	}
	t.Logf("a test takes %v; %v; all dead after %v at the latest", duration, tally, slowest)
	if after := s.must("env", "ps", "-q", "-p", beside); after != before {
		t.Errorf("the environment beside is %q, was %q", after, before)
	}
	if text := s.must("env", "exec", "-T", "-p", beside, "second", "/workload", "get", "http://first:8080/"); !strings.Contains(text, "hostname first") {
		t.Errorf("the environment beside answers %q", text)
	}
	s.must("env", "down", "-q", "-t", "0", "-p", beside)
}
