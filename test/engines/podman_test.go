package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// podman is podman with storage, configuration and state of its own.
type podman struct {
	client
	dir   string // of everything that is its own
	state string // sandboxrun's state root below podman
}

// podmanConf is what docs/engines.md tells to put into containers.conf. The two
// lists make podman ask for errors as JSON, and pass --cgroups=disabled on: it
// knows the runtimes that can by name. podman's manual calls the second one
// runtime_supports_nocgroups, and podman doesn't listen to that.
const podmanConf = `[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "sandboxrun"
runtime_supports_json = ["sandboxrun"]
runtime_supports_nocgroup = ["sandboxrun"]

[engine.runtimes]
sandboxrun = ["%s"]
`

// newPodman returns podman for root, or for the guest's ordinary user.
func newPodman(t *testing.T, user *syscall.Credential) podman {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "p") //nolint:usetesting // short, for the paths of sockets in it
	if err != nil {
		t.Fatal(err)
	}
	runtimeDir, home := "/run", "/root"
	if user != nil {
		runtimeDir, home = filepath.Join(dir, "xdg"), "/home/tester"
	}
	conf := dir + "/containers.conf"
	makeFiles(t, user, map[string]string{dir + "/": "", dir + "/xdg/": "", conf: fmt.Sprintf(podmanConf, sandboxrun(t))})
	p := podman{
		client: client{
			argv: []string{"podman", "--root", dir + "/storage", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp"},
			env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CONTAINERS_CONF=" + conf, "XDG_RUNTIME_DIR=" + runtimeDir},
			as:   user,
		},
		dir:   dir,
		state: filepath.Join(runtimeDir, "sandboxrun"),
	}
	t.Cleanup(func() { p.remove(t) })
	return p
}

// withImage gives podman the test's image.
func (p podman) withImage(t *testing.T) podman {
	t.Helper()
	archive, err := os.ReadFile(imageArchive(t))
	if err != nil {
		t.Fatal(err)
	}
	makeFiles(t, p.as, map[string]string{p.dir + "/image.tar": string(archive)})
	p.succeeds(t, "load", "--quiet", "--input", p.dir+"/image.tar")
	return p
}

// remove ends what podman keeps between its calls, and removes its directory. A
// second call does nothing.
func (p podman) remove(t *testing.T) {
	t.Helper()
	if left := leftovers.Names(filepath.Join(p.state, "containers")); len(left) > 0 {
		t.Errorf("sandboxrun still has %q", left)
	}
	// The process that holds a user's namespaces open.
	if data, err := os.ReadFile(p.dir + "/tmp/pause.pid"); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			killAndWait(t, pid)
		}
	}
	removeTree(t, p.dir)
	if p.as != nil {
		return
	}
	// What podman makes once and keeps.
	removeGroup(t, "/sys/fs/cgroup/libpod_parent/conmon")
	removeGroup(t, "/sys/fs/cgroup/libpod_parent")
}

// rm removes a container, of which nothing may be left then.
func (p podman) rm(t *testing.T, name string) {
	t.Helper()
	id := p.succeeds(t, "inspect", "--format", "{{.Id}}", name)
	p.succeeds(t, "rm", "--force", "--time", "0", name)
	requireNothingOf(t, id, filepath.Join(p.state, "containers", id))
}

// requireStatus fails the test if sandboxrun says something else of the
// container.
func (p podman) requireStatus(t *testing.T, name, want string) {
	t.Helper()
	id := p.succeeds(t, "inspect", "--format", "{{.Id}}", name)
	if got := runtimeStatus(t, p.state, id); got != want {
		t.Errorf("to sandboxrun the container is %s, not %s", got, want)
	}
}

func TestPodman(t *testing.T) {
	requireVM(t)
	before := machineNow()
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		// For --userns=auto.
		appendLine(t, file, "containers:200000:100000")
	}
	root, tester := newPodman(t, nil).withImage(t), newPodman(t, &syscall.Credential{Uid: 1000, Gid: 1000}).withImage(t)
	t.Run("side by side", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"container":      root.testContainer,
			"out of memory":  root.testOutOfMemory,
			"pod":            root.testPod,
			"without cgroup": root.testWithoutCgroup,
			"user namespace": root.testUserNamespace,
			"rootless":       tester.testRootless,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	tester.remove(t)
	root.remove(t)
	before.requireSame(t)
}

func (p podman) testContainer(t *testing.T) {
	p.succeeds(t, "run", "--detach", "--name", "limited", "--network", "none",
		"--memory", "64m", "--cpus", "0.5", "--pids-limit", "50",
		"--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable",
		image, "sh", "-c", "trap 'exit 9' TERM; echo out; echo err >&2; while :; do sleep 0.1; done")
	p.requireStatus(t, "limited", "running")
	if a := p.try(t, "logs", "limited"); a.stdout != "out\n" || a.stderr != "err\n" {
		t.Errorf("logs: %+v", a)
	}

	got := p.succeeds(t, "exec", "limited", "sh", "-c", "cd /sys/fs/cgroup && cat memory.max cpu.max pids.max")
	if want := "67108864\n50000 100000\n50"; got != want {
		t.Errorf("limits are %q, not %q", got, want)
	}
	p.onTerminal(t, "hello\r", "exec", "--interactive", "--tty", "limited", "sh", "-c", resizedThenTyped).requireTyped(t, "hello")
	p.ends(t, 7, "exec", "limited", "sh", "-c", "exit 7")
	if a := p.try(t, "exec", "limited", "nosuch"); a.code != 127 || !strings.Contains(a.stderr, `exec: "nosuch": executable file not found in $PATH`) {
		t.Errorf("exec of what is missing: %+v", a)
	}

	usage := p.succeeds(t, "stats", "--no-stream", "--format", "{{.PIDS}} {{.MemUsage}}", "limited")
	pids, memory, _ := strings.Cut(usage, " ")
	if n, err := strconv.Atoi(pids); err != nil || n < 1 || !strings.HasSuffix(memory, "/ 67.11MB") {
		t.Errorf("stats: %q", usage)
	}

	p.ends(t, 1, "healthcheck", "run", "limited")
	p.succeeds(t, "exec", "limited", "touch", "/tmp/healthy")
	p.succeeds(t, "healthcheck", "run", "limited")

	p.succeeds(t, "pause", "limited")
	p.requireStatus(t, "limited", "paused")
	p.succeeds(t, "unpause", "limited")
	p.succeeds(t, "update", "--memory", "96m", "limited")
	if got := p.succeeds(t, "exec", "limited", "cat", "/sys/fs/cgroup/memory.max"); got != "100663296" {
		t.Errorf("after update the limit is %s", got)
	}

	p.succeeds(t, "kill", "--signal", "TERM", "limited")
	if got := p.succeeds(t, "wait", "limited"); got != "9" {
		t.Errorf("wait: exit code %s, not the trap's 9", got)
	}
	p.rm(t, "limited")
}

// testOutOfMemory names the runtime by its path and everything else by flags, as
// without a configuration.
func (p podman) testOutOfMemory(t *testing.T) {
	p.argv = slices.Concat(p.argv, []string{"--runtime", sandboxrun(t), "--cgroup-manager", "cgroupfs", "--events-backend", "file"})
	p.env = slices.DeleteFunc(slices.Clone(p.env), func(v string) bool { return strings.HasPrefix(v, "CONTAINERS_CONF=") })
	p.ends(t, 137, "run", "--name", "hog", "--network", "none", "--memory", "32m", image, "workload", "hog", "100M")
	p.rm(t, "hog")
}

func (p podman) testPod(t *testing.T) {
	// podman 4.3 gives a pod's own group a device filter that forbids everything
	// when it makes the group itself: not even runc starts a container in it.
	p.succeeds(t, "pod", "create", "--name", "pod", "--share-parent=false")
	p.succeeds(t, "run", "--detach", "--name", "web", "--pod", "pod", image,
		"sh", "-c", "mkdir /tmp/www; echo from the other >/tmp/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/www")
	got := p.succeeds(t, "run", "--rm", "--pod", "pod", image,
		"sh", "-c", "i=0; until wget -q -O - http://127.0.0.1:8080/ || [ $i -ge 100 ]; do sleep 0.2; i=$((i+1)); done; ip -o -4 address show dev eth0")
	if !strings.HasPrefix(got, "from the other\n") || !strings.Contains(got, "inet 10.88.") {
		t.Errorf("the pod's second container says %q", got)
	}
	p.rm(t, "web")
	p.succeeds(t, "pod", "rm", "--force", "--time", "0", "pod")
}

func (p podman) testWithoutCgroup(t *testing.T) {
	got := p.succeeds(t, "run", "--rm", "--network", "none", "--cgroups", "disabled", "--cgroupns", "host", image, "cat", "/proc/self/cgroup")
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(own)) {
		t.Errorf("the container is in %q, not where podman was called, in %q", got, own)
	}
}

// testUserNamespace leaves it to podman to choose the container's ids among those
// of the user "containers".
func (p podman) testUserNamespace(t *testing.T) {
	got := p.succeeds(t, "run", "--rm", "--network", "none", "--userns", "auto:size=1000", image,
		"sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/mine && stat -c %u /tmp/mine")
	if want := "0 0 200000 1000 0"; strings.Join(strings.Fields(got), " ") != want {
		t.Errorf("the container's ids are %q, not %q", got, want)
	}
}

func (p podman) testRootless(t *testing.T) {
	p.succeeds(t, "run", "--detach", "--name", "sleeper", image, "sleep", "1000")
	p.requireStatus(t, "sleeper", "running")
	got := p.succeeds(t, "exec", "sleeper", "sh", "-c", "id -u; cat /proc/self/uid_map; ip -o -4 address show dev tap0")
	if words := strings.Join(strings.Fields(got), " "); !strings.HasPrefix(words, "0 0 1000 1 1 100000 65536 ") || !strings.Contains(words, "inet 10.0.2.100/24") {
		t.Errorf("the container's ids and address are %q", got)
	}
	p.onTerminal(t, "hello\r", "exec", "--interactive", "--tty", "sleeper", "sh", "-c", resizedThenTyped).requireTyped(t, "hello")
	p.rm(t, "sleeper")

	got = p.succeeds(t, "run", "--rm", "--network", "none", "--userns", "keep-id", image, "id", "-u")
	if got != "1000" {
		t.Errorf("with keep-id the user is %s", got)
	}
}
