package engines

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// docker is a daemon with configuration and data of its own, and its client.
type docker struct {
	client
	dir    string // of everything that is its own
	daemon *exec.Cmd
	log    *os.File
}

// dockerConf is what docs/engines.md tells to put into daemon.json, and after
// that what makes the daemon one of the test's own.
const dockerConf = `{
  "runtimes": {"sandboxrun": {"path": %[1]q}},
  "default-runtime": "sandboxrun",
  "live-restore": true,
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "data-root": "%[2]s/data",
  "exec-root": "%[2]s/exec",
  "pidfile": "%[2]s/pid",
  "hosts": ["unix://%[2]s/socket"]
}
`

func newDocker(t *testing.T) *docker {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "d") //nolint:usetesting // short, for the paths of sockets in it
	if err != nil {
		t.Fatal(err)
	}
	makeFiles(t, nil, map[string]string{dir + "/daemon.json": fmt.Sprintf(dockerConf, sandboxrun(t), dir)})
	d := &docker{
		client: client{
			argv: []string{"docker"},
			env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_HOST=unix://" + dir + "/socket", "DOCKER_BUILDKIT=0"},
		},
		dir: dir,
	}
	if d.log, err = os.OpenFile(dir+"/log", os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.remove(t) })
	d.start(t)
	d.succeeds(t, "load", "--quiet", "--input", imageArchive(t))
	return d
}

// start starts the daemon and waits until it answers.
func (d *docker) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	d.daemon = exec.Command("dockerd", "--config-file", d.dir+"/daemon.json")
	d.daemon.Stdout, d.daemon.Stderr = d.log, d.log
	if err := d.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", d.dir+"/socket")
	}
	asker := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: callDeadline}
	err := eventually(callDeadline, func() error {
		answer, err := asker.Get("http://docker/_ping")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", answer.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("dockerd does not answer: %v", err)
	}
	t.Logf("%.1f s: dockerd is up", time.Since(began).Seconds())
}

// stop ends the daemon, and not what runs in containers.
func (d *docker) stop(t *testing.T) {
	t.Helper()
	if d.daemon == nil {
		return
	}
	if err := d.daemon.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := d.daemon.Wait(); err != nil {
		t.Errorf("dockerd: %v", err)
	}
	d.daemon = nil
}

// remove ends the daemon and what it keeps.
func (d *docker) remove(t *testing.T) {
	t.Helper()
	d.stop(t)
	if t.Failed() {
		if text, err := os.ReadFile(d.dir + "/log"); err == nil {
			t.Logf("the end of dockerd's log:\n%s", text[max(0, len(text)-8000):])
		}
	}
	d.log.Close()
	removeTree(t, d.dir)
	removeGroup(t, "/sys/fs/cgroup/docker")
	// Of all daemons on a machine, and never removed by them.
	removeTree(t, "/run/docker")
	removeTree(t, "/run/containerd")
	if out, err := exec.Command("ip", "link", "delete", "docker0").CombinedOutput(); err != nil && !strings.Contains(string(out), "Cannot find") {
		t.Errorf("remove docker0: %v: %s", err, out)
	}
}

// state is sandboxrun's state root below docker.
func (d *docker) state() string { return d.dir + "/exec/runtime-runc/moby" }

// rm removes a container, of which nothing may be left then.
func (d *docker) rm(t *testing.T, name string) {
	t.Helper()
	id := d.succeeds(t, "inspect", "--format", "{{.Id}}", name)
	d.succeeds(t, "rm", name)
	requireNothingOf(t, id, filepath.Join(d.state(), "containers", id))
}

func TestDocker(t *testing.T) {
	requireVM(t)
	before := machineNow()
	d := newDocker(t)
	t.Run("side by side", func(t *testing.T) {
		for name, test := range map[string]func(*docker, *testing.T){
			"compose":       (*docker).testCompose,
			"container":     (*docker).testContainer,
			"out of memory": (*docker).testOutOfMemory,
			"build":         (*docker).testBuild,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(d, t)
			})
		}
	})
	t.Run("live restore", d.testLiveRestore)
	d.remove(t)
	before.requireSame(t)
}

func (d *docker) testContainer(t *testing.T) {
	profile := d.dir + "/profile.json"
	makeFiles(t, nil, map[string]string{profile: `{"defaultAction": "SCMP_ACT_ALLOW",
		"syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}`})
	d.succeeds(t, "run", "--detach", "--name", "limited", "--network", "none", "--init",
		"--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--security-opt", "seccomp="+profile,
		image, "sh", "-c", "trap 'exit 9' TERM; echo out; echo err >&2; while :; do sleep 0.1; done")
	if a := d.try(t, "logs", "limited"); a.stdout != "out\n" || a.stderr != "err\n" {
		t.Errorf("logs: %+v", a)
	}

	got := d.succeeds(t, "exec", "limited", "sh", "-c", `cd /sys/fs/cgroup && cat memory.max cpu.max pids.max
		touch /x 2>&1
		mkdir /dev/shm/x 2>&1
		cat /proc/1/comm
		grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status`)
	want := `67108864
50000 100000
50
touch: /x: Read-only file system
mkdir: can't create directory '/dev/shm/x': Permission denied
docker-init
CapEff:	0000000000000000
CapBnd:	0000000000000000
NoNewPrivs:	1
Seccomp:	2`
	if got != want {
		t.Errorf("inside it is\n%s\nand not\n%s", got, want)
	}
	d.onTerminal(t, "hello\r", "exec", "--interactive", "--tty", "limited", "sh", "-c", resizedThenTyped).requireTyped(t, "hello")
	d.ends(t, 7, "exec", "limited", "sh", "-c", "exit 7")

	usage := strings.Fields(d.succeeds(t, "stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "limited"))
	if pids, err := strconv.Atoi(usage[0]); err != nil || pids < 2 || usage[len(usage)-1] != "64MiB" {
		t.Errorf("stats: %q", usage)
	}

	d.succeeds(t, "pause", "limited")
	if got := d.succeeds(t, "inspect", "--format", "{{.State.Status}}", "limited"); got != "paused" {
		t.Errorf("the status is %s, not paused", got)
	}
	d.succeeds(t, "unpause", "limited")
	d.succeeds(t, "update", "--memory", "96m", "--memory-swap", "96m", "limited")
	if got := d.succeeds(t, "exec", "limited", "cat", "/sys/fs/cgroup/memory.max"); got != "100663296" {
		t.Errorf("after update the limit is %s", got)
	}

	d.succeeds(t, "stop", "--time", "60", "limited")
	if got := d.succeeds(t, "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", "limited"); got != "9 false" {
		t.Errorf("it ended with %s, not by its trap", got)
	}
	d.rm(t, "limited")
}

func (d *docker) testOutOfMemory(t *testing.T) {
	got := d.ends(t, 137, "run", "--name", "hog", "--network", "none", "--memory", "32m", "--security-opt", "seccomp=unconfined",
		image, "sh", "-c", "grep ^Seccomp: /proc/self/status; exec workload hog 100M")
	if got != "Seccomp:\t0" {
		t.Errorf("unconfined, it says %q", got)
	}
	if got := d.succeeds(t, "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", "hog"); got != "137 true" {
		t.Errorf("it ended with %s", got)
	}
	d.rm(t, "hog")
}

func (d *docker) testBuild(t *testing.T) {
	dir := t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/busybox", busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	makeFiles(t, nil, map[string]string{dir + "/Dockerfile": `FROM scratch
COPY busybox /bin/
RUN ["/bin/busybox", "sh", "-c", "busybox grep ^Seccomp: /proc/self/status >/built"]
`})
	d.succeeds(t, "build", "--quiet", "--network", "none", "--tag", "localhost/built", dir)
	got := d.succeeds(t, "run", "--rm", "localhost/built", "/bin/busybox", "sh", "-c", "busybox cat /built; busybox ip -o -4 address show dev eth0")
	if !strings.HasPrefix(got, "Seccomp:\t2\n") || !strings.Contains(got, "inet 172.") {
		t.Errorf("what was built says %q", got)
	}
	d.succeeds(t, "image", "rm", "localhost/built")
}

func (d *docker) testCompose(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, nil, map[string]string{dir + "/docker-compose.yml": `version: "2.4"
services:
  web:
    image: ` + image + `
    mem_limit: 64m
    stop_grace_period: 0s
    command: ["sh", "-c", "mkdir /tmp/www; echo from web >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www"]
  client:
    image: ` + image + `
    depends_on: [web]
    command: ["sh", "-c", "i=0; until wget -q -O - http://web/; do [ $$i -lt 100 ] || exit 1; sleep 0.2; i=$$((i+1)); done; exit 3"]
`})
	compose := d.client
	// It gives up after 60 s otherwise, which a busy host may take.
	compose.env = append(slices.Clone(compose.env), "COMPOSE_HTTP_TIMEOUT=240")
	compose.argv = []string{"docker-compose", "--project-name", "project", "--file", dir + "/docker-compose.yml"}
	got := compose.ends(t, 3, "up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "client")
	if !strings.Contains(got, "from web") {
		t.Errorf("the client did not reach web by its name:\n%s", got)
	}
	compose.succeeds(t, "down", "--timeout", "0")
	if got := d.succeeds(t, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project"); got != "" {
		t.Errorf("down left %s", got)
	}
}

// testLiveRestore stops the daemon and starts it again beside a container, which
// must not notice and be as manageable afterwards.
func (d *docker) testLiveRestore(t *testing.T) {
	id := d.succeeds(t, "run", "--detach", "--name", "survivor", image, "sh", "-c", "i=0; while sleep 0.1; do i=$((i+1)); echo $i >/tmp/beats; done")
	pid, err := strconv.Atoi(d.succeeds(t, "inspect", "--format", "{{.State.Pid}}", "survivor"))
	if err != nil {
		t.Fatal(err)
	}
	d.stop(t)
	if got := runtimeStatus(t, d.state(), id); got != "running" {
		t.Errorf("beside a stopped daemon the container is %s", got)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the container's process beside a stopped daemon: %v", err)
	}
	d.start(t)
	if got := d.succeeds(t, "inspect", "--format", "{{.State.Status}} {{.State.Pid}}", "survivor"); got != "running "+strconv.Itoa(pid) {
		t.Errorf("after the restart it is %s, not running %d", got, pid)
	}
	if got := d.succeeds(t, "exec", "survivor", "sh", "-c", "test -s /tmp/beats && ip -o -4 address show dev eth0"); !strings.Contains(got, "inet 172.") {
		t.Errorf("after the restart its address is %q", got)
	}
	d.succeeds(t, "stop", "--time", "0", "survivor")
	d.rm(t, "survivor")
}
