package security_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// atOnce is how many exec at a time.
const atOnce = 20

// TestExecManyTimesByCommand execs into one container 300 times by the command
// line, 20 at a time.
func TestExecManyTimesByCommand(t *testing.T) {
	b := newBox(t)
	b.start()
	before := b.weight()
	manyTimes(t, 300, func(i int) error {
		o := b.exec("--", "/bin/attacker", "nap", "0s")
		if o.code != 0 || o.stdout+o.stderr != "" {
			return fmt.Errorf("exec %d: %v", i, o)
		}
		return nil
	})
	b.notHeavierThan(before)
}

// TestExecManyTimesByCall does it 1,000 times by the Go API, and looks at what
// this process holds afterwards too.
func TestExecManyTimesByCall(t *testing.T) {
	b := newBox(t)
	b.start()
	r, err := runtime.New(runtime.Config{Root: b.state})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := bundles.Load(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	process := *bundle.Spec.Process
	process.Args = []string{"/bin/attacker", "nap", "0s"}
	exec := func(i int) error {
		container, err := r.Load(b.id)
		if err != nil {
			return err
		}
		p, err := container.Exec(runtime.ExecOptions{Process: &process})
		if err != nil {
			return fmt.Errorf("exec %d: %w", i, err)
		}
		status, err := p.Wait()
		if err == nil && status.Code != 0 {
			err = fmt.Errorf("exec %d: exit code %d", i, status.Code)
		}
		return err
	}
	// What is made once, by the Go runtime and libcontainer, is there afterwards.
	manyTimes(t, 2*atOnce, exec)
	before, own := b.weight(), ownDescriptors(t)
	began := time.Now()
	manyTimes(t, 1000, exec)
	t.Logf("1000 execs in %v", time.Since(began).Round(time.Millisecond))
	b.notHeavierThan(before)
	if now := ownDescriptors(t); now > own {
		t.Errorf("descriptors of this process: %d before, %d after", own, now)
	}
}

func manyTimes(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var workers sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// weight is what a container holds on the host.
type weight struct {
	processes   int // in its cgroup
	tasks       int // threads there
	descriptors int // of its first process
	mounts      int // in its mount namespace
	states      string
}

func (b *box) weight() weight {
	b.t.Helper()
	pid := b.pid()
	proc := fmt.Sprint("/proc/", pid)
	// The last exec'd process may not be reaped yet when its exec has returned.
	var w weight
	for until := time.Now().Add(5 * time.Second); ; {
		w = weight{descriptors: len(namesIn(b.t, proc+"/fd")), mounts: strings.Count(readString(b.t, proc+"/mountinfo"), "\n")}
		for _, group := range b.processes(pid) {
			w.processes++
			if threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", group)); err == nil {
				w.tasks += len(threads)
			}
		}
		if w.processes == 1 || time.Now().After(until) {
			break
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 1e7}, nil) //nolint:errcheck // woken early is as good
	}
	state, err := os.ReadDir(filepath.Join(b.state, "containers", b.id))
	if err != nil {
		b.t.Fatal(err)
	}
	names := []string{}
	for _, e := range state {
		names = append(names, e.Name())
	}
	text, err := json.Marshal(names)
	if err != nil {
		b.t.Fatal(err)
	}
	w.states = string(text)
	return w
}

// processes lists the cgroup that counts the processes of pid's container.
func (b *box) processes(pid int) []int {
	b.t.Helper()
	for line := range strings.Lines(readString(b.t, fmt.Sprintf("/proc/%d/cgroup", pid))) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		dir := filepath.Join("/sys/fs/cgroup", fields[1], fields[2])
		if fields[1] != "pids" && fields[1] != "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		var found []int
		for number := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(number); err == nil {
				found = append(found, pid)
			}
		}
		return found
	}
	b.t.Fatalf("process %d is in no cgroup that counts", pid)
	return nil
}

// notHeavierThan allows a few threads of the program's own Go runtime.
func (b *box) notHeavierThan(before weight) {
	b.t.Helper()
	after := b.weight()
	if after.tasks <= before.tasks+2 {
		after.tasks = before.tasks
	}
	if after != before {
		b.t.Errorf("the container grew:\nbefore %+v\nafter  %+v", before, after)
	}
}

func ownDescriptors(t *testing.T) int {
	t.Helper()
	return len(namesIn(t, "/proc/self/fd"))
}
