package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// command is the program with the sandbox's state root.
func (s *sandbox) command(args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(shared.path, "sandboxrun"), args...)
	command.Dir = s.work
	command.Env = s.env
	return command
}

// must runs the program to a successful end and returns its stdout. The output
// goes to files: a detached container keeps it.
func (s *sandbox) must(args ...string) string {
	s.tb.Helper()
	stdout, err := s.run(args...)
	if err != nil {
		s.tb.Fatalf("sandboxrun %s: %v", strings.Join(args, " "), err)
	}
	return stdout
}

func (s *sandbox) run(args ...string) (string, error) {
	output, err := os.CreateTemp(s.work, "output")
	if err != nil {
		return "", err
	}
	defer output.Close()
	said, err := os.CreateTemp(s.work, "said")
	if err != nil {
		return "", err
	}
	defer said.Close()
	command := s.command(args...)
	command.Stdout, command.Stderr = output, said
	if err := command.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(text))
	}
	text, err := os.ReadFile(output.Name())
	return string(text), err
}

// state returns the members of a container's state, nil if there is none.
func (s *sandbox) state(id string) map[string]any {
	text, err := s.run("state", id)
	if err != nil {
		return nil
	}
	var state map[string]any
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		s.tb.Errorf("state of %s: %v", id, err)
	}
	return state
}

// killRounds is how often a supervisor is killed. The VM may be emulated, and is
// there for the other cgroup version, not for the number.
func killRounds() int {
	if inVM() {
		return 25
	}
	return 200
}

// killedRuns are ways to run; rounds take turns.
var killedRuns = [][]string{
	{},
	{"--init"},
	{"--memory", "64M", "--pids", "64", "--cpus", "1"},
	{"--keep", "--report", "/dev/null"},
}

// TestSupervisorKilledAtAnyMomentLeavesNothingRunning kills supervisors by
// SIGKILL at random moments between their start and their end. Within a second
// nothing of the sandbox runs, gc removes the rest, and neighbours are untouched.
func TestSupervisorKilledAtAnyMomentLeavesNothingRunning(t *testing.T) {
	s := newTestSandbox(t)
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	neighbours := newNeighbours(s)
	// A directory of its own tells the victims' processes from the neighbours'.
	victim := filepath.Join(s.work, "victim")
	if err := copyBundle("workload", victim, "sleep", "20ms"); err != nil {
		t.Fatal(err)
	}
	duration := measureRun(s, victim)
	tally := map[string]int{}
	var slowest time.Duration
	for i := range killRounds() {
		id := fmt.Sprintf("%s-k%d", s.id, i)
		flags := killedRuns[i%len(killedRuns)]
		delay := time.Duration(random.Int64N(int64(duration)))
		command := s.command(append(append([]string{"run"}, flags...), victim, id)...)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(delay)
		command.Process.Kill() //nolint:errcheck // it may have ended
		command.Wait()         //nolint:errcheck // killed
		killed := time.Now()
		err := eventually(time.Second, func() error {
			if found := findProcesses(id, victim); len(found) > 0 {
				return fmt.Errorf("%v", found)
			}
			return nil
		})
		slowest = max(slowest, time.Since(killed))
		tally[remains(s, id)]++
		if err != nil {
			t.Errorf("round %d, %v, killed after %v: still running: %v", i, flags, delay, err)
		}
		// One that was killed when --keep had been done is stopped and nobody's.
		collected := s.must("gc", "--stopped")
		if rest := remainsOf(s, id); len(rest) > 0 {
			t.Errorf("round %d, %v, killed after %v: gc said %q and left %v", i, flags, delay, collected, rest)
		}
		if strings.Contains(collected, "neighbour") {
			t.Fatalf("round %d: gc took a neighbour: %q", i, collected)
		}
		if t.Failed() && i > 20 {
			break
		}
	}
	t.Logf("a run takes %v; after the kills there were %v; all dead after %v at the latest", duration, tally, slowest)
	if tally["nothing"] == killRounds() {
		t.Error("no kill left anything: this proves nothing")
	}
	neighbours.check()
	neighbours.end()
}

// seed is printed, and can be given to repeat a run.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("SANDBOXRUN_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SANDBOXRUN_SEED: %v", err)
		}
	}
	t.Logf("SANDBOXRUN_SEED=%d", n)
	return n
}

// measureRun returns how long an undisturbed run takes, the median of some.
func measureRun(s *sandbox, bundle string) time.Duration {
	var all []time.Duration
	for i := range 7 {
		began := time.Now()
		s.must("run", bundle, fmt.Sprintf("%s-m%d", s.id, i))
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// remains says in a word how far a killed run had come.
func remains(s *sandbox, id string) string {
	switch rest := remainsOf(s, id); {
	case len(rest) == 0:
		return "nothing"
	case len(cgroupsNamed(id)) > 0:
		return "cgroups"
	default:
		return "state"
	}
}

func remainsOf(s *sandbox, id string) []string {
	found := cgroupsNamed(id)
	for _, path := range s.stateFiles() {
		if filepath.Base(path) == id {
			found = append(found, path)
		}
	}
	return found
}

// neighbours are healthy containers that nothing may touch: one that runs under
// a supervisor all the time, and one created and not started.
type neighbours struct {
	s          *sandbox
	supervisor *exec.Cmd
	before     map[string]map[string]any
}

func newNeighbours(s *sandbox) *neighbours {
	s.tb.Helper()
	bundle := filepath.Join(s.work, "healthy")
	if err := copyBundle("workload", bundle, "signal", "trap", "TERM", "exit", "42"); err != nil {
		s.tb.Fatal(err)
	}
	running, created := s.id+"-neighbour-running", s.id+"-neighbour-created"
	n := &neighbours{s: s, supervisor: s.command("run", bundle, running), before: map[string]map[string]any{}}
	var output bytes.Buffer
	ready := make(chan struct{})
	n.supervisor.Stdout = &notifier{to: &output, ready: ready}
	if err := n.supervisor.Start(); err != nil {
		s.tb.Fatal(err)
	}
	select {
	case <-ready:
	case <-time.After(patience()):
		s.tb.Fatal("the neighbour did not start")
	}
	s.must("create", bundle, created)
	for _, id := range []string{running, created} {
		n.before[id] = s.state(id)
	}
	if n.before[running]["status"] != "running" || n.before[created]["status"] != "created" {
		s.tb.Fatalf("neighbours: %v", n.before)
	}
	return n
}

// notifier closes ready at the first write.
type notifier struct {
	to    *bytes.Buffer
	ready chan struct{}
}

func (n *notifier) Write(p []byte) (int, error) {
	if n.to.Len() == 0 && len(p) > 0 {
		close(n.ready)
	}
	return n.to.Write(p)
}

// check compares their whole states, process IDs included.
func (n *neighbours) check() {
	n.s.tb.Helper()
	for id, before := range n.before {
		if after := n.s.state(id); fmt.Sprint(after) != fmt.Sprint(before) {
			n.s.tb.Errorf("neighbour %s is %v, was %v", id, after, before)
		}
	}
}

// end stops them, which shows that they were well to the end.
func (n *neighbours) end() {
	n.s.tb.Helper()
	n.s.must("delete", n.s.id+"-neighbour-created")
	n.s.must("kill", n.s.id+"-neighbour-running", "TERM")
	n.supervisor.Wait() //nolint:errcheck // the exit code says it
	if code := n.supervisor.ProcessState.ExitCode(); code != 42 {
		n.s.tb.Errorf("the running neighbour ended with %d, want 42", code)
	}
}
