package engines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// namespace is containerd's namespace of all tests, and so the parent of their
// control groups.
const namespace = "engines"

// containerdConf keeps everything of the daemon in one directory and leaves out
// what would make files elsewhere. containerd gives the removal of what a killed
// shim left 5 s, which are too few under software emulation on a busy host. What a
// user needs of this is in docs/engines.md: nothing.
const containerdConf = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
address = "%[1]s/containerd.sock"

[timeouts]
"io.containerd.timeout.shim.cleanup" = "2m"
`

// containerd is a daemon with storage, state and sockets of its own. Its client
// is ctr.
type containerd struct {
	client
	programs string // the directory with containerd, ctr and the stock shim
	// keepsEnded says that a new daemon still knows a container that ended while
	// there was none; containerd 2 drops it, with any runtime.
	keepsEnded bool
	runtime    string // sandboxrun
	dir        string // of everything that is its own
	daemon     *exec.Cmd
}

// newContainerd starts the containerd in programs.
func newContainerd(t *testing.T, programs string, keepsEnded bool) *containerd {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "c") //nolint:usetesting // short, for the paths of sockets in it
	if err != nil {
		t.Fatal(err)
	}
	makeFiles(t, nil, map[string]string{dir + "/config.toml": fmt.Sprintf(containerdConf, dir)})
	c := &containerd{
		client: client{
			argv: []string{programs + "/ctr", "--address", dir + "/containerd.sock", "--namespace", namespace},
			env:  []string{"PATH=" + programs + ":" + os.Getenv("PATH")},
		},
		programs: programs, keepsEnded: keepsEnded, runtime: sandboxrun(t), dir: dir,
	}
	t.Cleanup(func() { c.remove(t) })
	c.start(t)
	return c
}

// start starts the daemon and waits until it answers.
func (c *containerd) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(c.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.daemon = exec.Command(c.programs+"/containerd", "--config", c.dir+"/config.toml")
	c.daemon.Env, c.daemon.Dir = c.env, "/"
	c.daemon.Stdout, c.daemon.Stderr = log, log
	if err := c.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	err = eventually(settleTime, func() error {
		if out, err := c.command(t.Context(), []string{"version"}).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("containerd does not answer: %v\n%s", err, c.said())
	}
}

// said is the end of the daemon's log.
func (c *containerd) said() string {
	log, _ := os.ReadFile(c.dir + "/log")
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// end ends the daemon by a signal; a second call does nothing.
func (c *containerd) end(signal syscall.Signal) {
	if c.daemon == nil {
		return
	}
	// How a daemon that got a signal ends is its own affair.
	_ = c.daemon.Process.Signal(signal)
	_ = c.daemon.Wait()
	c.daemon = nil
}

// remove ends the daemon and removes what is its own. A second call does nothing.
func (c *containerd) remove(t *testing.T) {
	t.Helper()
	if t.Failed() {
		t.Logf("containerd said:\n%s", c.said())
	}
	c.end(unix.SIGTERM)
	removeTree(t, c.dir)
	removeGroup(t, "/sys/fs/cgroup/"+namespace)
	// ctr's own, which it leaves for a task whose output it followed until killed.
	if err := os.RemoveAll("/run/containerd/fifo"); err != nil {
		t.Error(err)
	}
	// Where every containerd's shims have their sockets.
	for _, dir := range []string{"/run/containerd/s", "/run/containerd"} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %q", err, leftovers.Names(dir))
		}
	}
}

// state is the runtime's state root.
func (c *containerd) state() string { return c.dir + "/runtime" }

// run returns the arguments of `ctr run`.
func (c *containerd) run(flags []string, id string, program ...string) []string {
	return slices.Concat([]string{"run", "--runc-binary", c.runtime, "--runc-root", c.state()}, flags, []string{image, id}, program)
}

// runDetached starts a container that exits with 9 on SIGTERM and returns what
// removes it, after which nothing of it may be left.
func (c *containerd) runDetached(t *testing.T, id string, flags ...string) (forget func()) {
	t.Helper()
	c.succeeds(t, c.run(append(flags, "--detach"), id, "workload", "signal", "trap", "TERM", "exit", "9")...)
	c.requireStatus(t, id, "RUNNING")
	return func() { c.forget(t, id) }
}

// forget removes a container, running or not, if it is there.
func (c *containerd) forget(t *testing.T, id string) {
	t.Helper()
	c.try(t, "task", "rm", "--force", id)
	c.try(t, "container", "rm", id)
	c.requireNothing(t, id)
}

func (c *containerd) requireNothing(t *testing.T, id string) {
	t.Helper()
	requireNothingOf(t, id, filepath.Join(c.state(), namespace, id))
}

// task returns the process ID and status that containerd tells of a container.
func (c *containerd) task(t *testing.T, id string) (pid int, status string) {
	t.Helper()
	for line := range strings.Lines(c.succeeds(t, "task", "ls")) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == id {
			pid, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return pid, fields[2]
		}
	}
	return 0, "GONE"
}

// requireStatus waits for a container's status.
func (c *containerd) requireStatus(t *testing.T, id, want string) {
	t.Helper()
	err := eventually(settleTime, func() error {
		if _, status := c.task(t, id); status != want {
			return fmt.Errorf("%s is %s, not %s", id, status, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// requireExit waits for a container's end and removes its task, of which ctr tells
// the exit code in words.
func (c *containerd) requireExit(t *testing.T, id string, code int) {
	t.Helper()
	c.requireStatus(t, id, "STOPPED")
	if a := c.try(t, "task", "rm", id); a.code != 0 || !strings.Contains(a.stderr, fmt.Sprintf("non-zero exit code %d\"", code)) {
		t.Errorf("the end of %s, which should be %d: %+v", id, code, a)
	}
}

// requireLimits compares files of a container's control group; ctr mounts none
// inside.
func requireLimits(t *testing.T, id string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", namespace, id, name))
		if err != nil || strings.TrimSpace(string(got)) != value {
			t.Errorf("%s is %q, %v, not %q", name, got, err, value)
		}
	}
}

// exec returns the arguments of `ctr task exec`.
func (c *containerd) exec(id, name string, program ...string) []string {
	return append([]string{"task", "exec", "--exec-id", name, id}, program...)
}
