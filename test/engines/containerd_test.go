package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// TestContainerd uses Debian's containerd and the newest, each with its own stock
// shim and `BinaryName` as sandboxrun's path.
func TestContainerd(t *testing.T) {
	requireVM(t)
	for _, version := range []struct {
		name, programs string
		keepsEnded     bool
	}{
		{"Debian", "/usr/bin", true},
		{"newest", fromEnvironment(t, "SANDBOXRUN_ENGINES"), false},
	} {
		t.Run(version.name, func(t *testing.T) {
			before := machineNow()
			c := newContainerd(t, version.programs, version.keepsEnded)
			c.succeeds(t, "image", "import", imageArchive(t))
			for _, test := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"run", c.testRun},
				{"exec", c.testExec},
				{"attach", c.testAttach},
				{"pause", c.testPause},
				{"update", c.testUpdate},
				{"out of memory", c.testOutOfMemory},
				{"checkpoint", c.testCheckpoint},
				{"many at once", c.testManyAtOnce},
				{"restart of the daemon", c.testRestart},
				{"end of the shim", c.testShimKilled},
			} {
				t.Run(test.name, test.run)
			}
			c.remove(t)
			before.requireSame(t)
		})
	}
}

func (c *containerd) testRun(t *testing.T) {
	a := c.try(t, c.run([]string{"--rm", "--env", "A=b"}, "plain", "sh", "-c", "echo $A $MADE_BY; echo err >&2; exit 7")...)
	if a.code != 7 || a.stdout != "b sandboxrun\n" || a.stderr != "err\n" {
		t.Errorf("run: %+v", a)
	}
	c.requireNothing(t, "plain")
	c.onTerminal(t, "hello\r", c.run([]string{"--rm", "--tty"}, "terminal", "sh", "-c", resizedThenTyped)...).requireTyped(t, "hello")
	c.requireNothing(t, "terminal")
	a = c.try(t, c.run([]string{"--rm"}, "missing", "nosuch")...)
	if a.code == 0 || !strings.Contains(a.stderr, `"nosuch": executable file not found in $PATH`) {
		t.Errorf("a program that is missing: %+v", a)
	}
	c.requireNothing(t, "missing")
}

func (c *containerd) testExec(t *testing.T) {
	defer c.runDetached(t, "executed")()
	a := c.try(t, c.exec("executed", "plain", "sh", "-c", "echo out; echo err >&2; exit 7")...)
	if a.code != 7 || a.stdout != "out\n" || a.stderr != "err\n" {
		t.Errorf("exec: %+v", a)
	}
	if got := c.succeeds(t, "task", "exec", "--exec-id", "user", "--user", "1000", "--cwd", "/tmp", "executed", "sh", "-c", "id -u; pwd"); got != "1000\n/tmp" {
		t.Errorf("exec as another user: %q", got)
	}
	reader := c.command(t.Context(), c.exec("executed", "reader", "cat"))
	reader.Stdin = strings.NewReader("typed\n")
	if out, err := reader.CombinedOutput(); err != nil || string(out) != "typed\n" {
		t.Errorf("exec with input: %v: %q", err, out)
	}
	c.onTerminal(t, "hello\r", "task", "exec", "--exec-id", "terminal", "--tty", "executed", "sh", "-c", resizedThenTyped).requireTyped(t, "hello")

	c.succeeds(t, "task", "exec", "--exec-id", "background", "--detach", "executed", "workload", "sleep", "1000")
	c.succeeds(t, "task", "kill", "--exec-id", "background", "--signal", "SIGKILL", "executed")
	err := eventually(settleTime, func() error {
		if found := c.processesOf(t, "executed"); len(found) != 1 {
			return fmt.Errorf("besides the program there are %q", found)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if a := c.try(t, c.exec("executed", "missing", "nosuch")...); a.code == 0 || !strings.Contains(a.stderr, `"nosuch": executable file not found in $PATH`) {
		t.Errorf("exec of what is missing: %+v", a)
	}
	c.succeeds(t, "task", "kill", "--signal", "SIGTERM", "executed")
	c.requireExit(t, "executed", 9)
}

// processesOf lists the process IDs that containerd tells of a container.
func (c *containerd) processesOf(t *testing.T, id string) []string {
	t.Helper()
	lines := strings.Split(c.succeeds(t, "task", "ps", id), "\n")
	return lines[1:]
}

// attach starts `ctr task attach` and returns it and the path of its output.
func (c *containerd) attach(t *testing.T, id string) (attached *exec.Cmd, screen string) {
	t.Helper()
	screen = filepath.Join(t.TempDir(), "screen")
	file, err := os.Create(screen)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	attached = c.command(t.Context(), []string{"task", "attach", id})
	attached.Stdout, attached.Stderr = file, file
	if err := attached.Start(); err != nil {
		t.Fatal(err)
	}
	return attached, screen
}

func (c *containerd) testAttach(t *testing.T) {
	defer c.runDetached(t, "attached")()
	attach, screen := c.attach(t, "attached")
	// What comes first may have gone to `ctr run`, which reads until it has ended.
	err := eventually(settleTime, func() error {
		c.succeeds(t, "task", "kill", "--signal", "SIGUSR1", "attached")
		return hasText(screen, "SIGUSR1\n")
	})
	if err != nil {
		t.Fatal(err)
	}
	c.succeeds(t, "task", "kill", "--signal", "SIGTERM", "attached")
	if err := attach.Wait(); attach.ProcessState.ExitCode() != 9 {
		t.Errorf("attach ended by %v, not with the program's 9", err)
	}
}

// requireText waits until a file has the text.
func requireText(t *testing.T, path, want string) {
	t.Helper()
	if err := eventually(settleTime, func() error { return hasText(path, want) }); err != nil {
		t.Fatal(err)
	}
}

func hasText(path, want string) error {
	got, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(got), want) {
		err = fmt.Errorf("%s has no %q, but %q", path, want, got)
	}
	return err
}

func (c *containerd) testPause(t *testing.T) {
	defer c.runDetached(t, "paused")()
	c.succeeds(t, "task", "pause", "paused")
	c.requireStatus(t, "paused", "PAUSED")
	if got := runtimeStates(t, c.state()+"/"+namespace); !slices.Equal(got, []string{"paused"}) {
		t.Errorf("sandboxrun's states are %q", got)
	}
	if a := c.try(t, c.exec("paused", "e", "true")...); a.code == 0 || !strings.Contains(a.stderr, "paused") {
		t.Errorf("exec in a paused container: %+v", a)
	}
	c.succeeds(t, "task", "resume", "paused")
	c.requireStatus(t, "paused", "RUNNING")
	c.succeeds(t, c.exec("paused", "f", "true")...)
	// A signal that finds it paused is delivered when it runs again.
	c.succeeds(t, "task", "pause", "paused")
	c.succeeds(t, "task", "kill", "--signal", "SIGTERM", "paused")
	c.succeeds(t, "task", "resume", "paused")
	c.requireExit(t, "paused", 9)
}

func (c *containerd) testUpdate(t *testing.T) {
	defer c.runDetached(t, "updated", "--memory-limit", "67108864", "--cpus", "0.5")()
	requireLimits(t, "updated", map[string]string{"memory.max": "67108864", "cpu.max": "50000 100000"})
	update := exec.Command(fromEnvironment(t, "SANDBOXRUN_ENGINES", "update"), c.dir+"/containerd.sock", namespace, "updated",
		`{"memory": {"limit": 100663296}, "pids": {"limit": 33}, "cpu": {"quota": 30000, "period": 100000}}`)
	if out, err := update.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	requireLimits(t, "updated", map[string]string{"memory.max": "100663296", "pids.max": "33", "cpu.max": "30000 100000"})
	text := c.succeeds(t, "task", "metrics", "--format", "json", "updated")
	var metrics struct {
		Pids struct {
			Current, Limit int
		}
		Memory struct {
			Usage      int
			UsageLimit int `json:"usage_limit"`
		}
		CPU struct {
			UsageUsec int `json:"usage_usec"`
		}
	}
	if err := json.Unmarshal([]byte(text), &metrics); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if m := metrics; m.Pids.Current < 1 || m.Pids.Limit != 33 || m.Memory.Usage == 0 || m.Memory.UsageLimit != 100663296 || m.CPU.UsageUsec == 0 {
		t.Errorf("metrics: %+v of %s", m, text)
	}
}

func (c *containerd) testOutOfMemory(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "events")
	file, err := os.Create(seen)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	events := c.command(t.Context(), []string{"events"})
	events.Stdout = file
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		// It ends only by a signal.
		_ = events.Process.Kill()
		_ = events.Wait()
	}()
	defer c.forget(t, "greedy")
	c.succeeds(t, c.run([]string{"--detach", "--memory-limit", "33554432"}, "greedy",
		"sh", "-c", "sleep 3; exec workload hog 128M 1000s")...)
	requireText(t, seen, "/tasks/oom")
	requireText(t, seen, `"exit_status":137`)
	c.requireExit(t, "greedy", 137)
}

// testCheckpoint saves a container with its memory, removes it, and lets it go on
// where it was.
func (c *containerd) testCheckpoint(t *testing.T) {
	const saved = "checkpoint/saved:1"
	defer c.forget(t, "saved")
	c.succeeds(t, c.run([]string{"--detach"}, "saved", "workload", "counter", "200ms")...)
	attach, screen := c.attach(t, "saved")
	requireText(t, screen, "5\n")
	if err := attach.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = attach.Wait() // it was killed
	c.succeeds(t, "container", "checkpoint", "--task", "saved", saved)
	c.forget(t, "saved")

	c.succeeds(t, "container", "restore", "--live", "saved", saved)
	c.requireStatus(t, "saved", "RUNNING")
	attach, screen = c.attach(t, "saved")
	requireText(t, screen, "\n")
	c.succeeds(t, "task", "kill", "--signal", "SIGKILL", "saved")
	if err := attach.Wait(); attach.ProcessState.ExitCode() != 137 {
		t.Errorf("attach ended by %v, not with 137", err)
	}
	said, err := os.ReadFile(screen)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(said), "\n")
	if n, err := strconv.Atoi(first); err != nil || n <= 5 {
		t.Errorf("it went on with %q, not after 5", said)
	}
	removeCheckpointFiles(t)
}

// removeCheckpointFiles removes what containerd and CRIU leave with any runtime:
// the images of a restore, and what CRIU found out about the kernel.
func removeCheckpointFiles(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob("/tmp/ctrd-checkpoint*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(left, "/run/criu.kdat") {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	}
}

func (c *containerd) testManyAtOnce(t *testing.T) {
	const many = 20
	ids := make([]string, many)
	failures := make([]string, many)
	var started sync.WaitGroup
	for i := range ids {
		ids[i] = fmt.Sprintf("many-%02d", i)
		started.Go(func() {
			out, err := c.command(t.Context(), c.run([]string{"--detach"}, ids[i], "workload", "sleep", "1000")).CombinedOutput()
			if err != nil {
				failures[i] = fmt.Sprintf("%s: %v: %s", ids[i], err, out)
			}
		})
	}
	began := time.Now()
	started.Wait()
	t.Logf("started %d in %.1f s", many, time.Since(began).Seconds())
	for _, failure := range failures {
		if failure != "" {
			t.Error(failure)
		}
	}
	if got := strings.Count(c.succeeds(t, "task", "ls"), " RUNNING"); got != many {
		t.Errorf("containerd has %d running containers", got)
	}
	if got := runtimeStates(t, c.state()+"/"+namespace); !slices.Equal(got, slices.Repeat([]string{"running"}, many)) {
		t.Errorf("sandboxrun's states are %q", got)
	}
	c.try(t, append([]string{"task", "rm", "--force"}, ids...)...)
	c.succeeds(t, append([]string{"container", "rm"}, ids...)...)
	c.requireNothing(t, "many-")
}

// testRestart kills the daemon: what it started lives on with its shim, and the
// next daemon finds it.
func (c *containerd) testRestart(t *testing.T) {
	defer c.runDetached(t, "survivor")()
	defer c.runDetached(t, "mortal")()
	survivor, _ := c.task(t, "survivor")
	mortal, _ := c.task(t, "mortal")
	c.end(unix.SIGKILL)
	if err := unix.Kill(mortal, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	if pid, status := c.task(t, "survivor"); pid != survivor || status != "RUNNING" {
		t.Errorf("after the restart process %d is %d, %s", survivor, pid, status)
	}
	if c.keepsEnded {
		c.requireExit(t, "mortal", 9)
	} else {
		c.requireStatus(t, "mortal", "GONE")
	}
	c.ends(t, 7, c.exec("survivor", "e", "sh", "-c", "exit 7")...)
	c.succeeds(t, "task", "kill", "--signal", "SIGTERM", "survivor")
	c.requireExit(t, "survivor", 9)
}

// testShimKilled kills the shim: containerd then has the container removed by
// `sandboxrun delete --force`.
func (c *containerd) testShimKilled(t *testing.T) {
	defer c.runDetached(t, "orphan")()
	sockets := leftovers.Names("/run/containerd/s")
	for pid, command := range processes() {
		if strings.Contains(command, "containerd-shim-runc-v2") && strings.Contains(command, "-id orphan") {
			killAndWait(t, pid)
		}
	}
	c.requireStatus(t, "orphan", "GONE")
	c.requireNothing(t, "orphan")
	// A killed shim leaves its socket.
	for _, name := range sockets {
		if err := os.Remove("/run/containerd/s/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}
