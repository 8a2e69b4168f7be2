package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// harness builds this command for a test that boots a guest, and returns its
// path.
func harness(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	if os.Getenv("SANDBOXRUN_IN_VM") != "" {
		t.Skip("a virtual machine in a virtual machine")
	}
	if _, err := exec.LookPath(qemu); err != nil {
		t.Skip("needs the packages in test/vm/host-packages.txt")
	}
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	if _, built := c.image(flavours()[0]); !built && os.Geteuid() != 0 {
		t.Skip("needs root to build the image")
	}
	binary := filepath.Join(t.TempDir(), "vm")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

// ran is how a harness ended.
type ran struct {
	code           int
	stdout, stderr string
}

// runHarness runs the harness to its end and fails the test if that takes
// longer than limit.
func runHarness(t *testing.T, limit time.Duration, binary string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q took longer than %s: %s", args, limit, stderr.String())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ran{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// TestRun is not parallel: the image is built by then, which the other tests have no time for.
func TestRun(t *testing.T) {
	binary := harness(t)
	host, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(filepath.Join(host, "greeting"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	probe := `
		cat greeting >/out/greeting && echo changed >greeting || exit 1
		{
			echo "group $(cat /proc/self/cgroup)"
			echo "available $(cat /sys/fs/cgroup/cgroup.controllers)"
			echo "enabled $(cat /sys/fs/cgroup/cgroup.subtree_control)"
			echo "mount $(grep ' /sys/fs/cgroup ' /proc/mounts)"
			echo "v1 $(grep -c ' cgroup ' /proc/mounts)"
			echo "uid $(id -u) $SANDBOXRUN_IN_VM $GREETING $PWD"
			echo "io $(blockdev --getsize64 "$SANDBOXRUN_IO_DISK")"
			cat /proc/pressure/memory >/dev/null && echo "pressure yes"
			mkdir /sys/fs/cgroup/probe
			cd /sys/fs/cgroup/probe
			for file in memory.max memory.peak cpu.max cpu.pressure io.max pids.max cpuset.cpus cgroup.kill; do
				[ -e $file ] && echo "file $file"
			done
		} >/out/probe
		dd if=/dev/zero of="$SANDBOXRUN_IO_DISK" bs=1M count=1 2>/dev/null || exit 1
		mkdir /out/deep && echo x >/out/deep/file
		echo to stdout; echo to stderr >&2
		sleep 1000 &
		exit 7`
	got := runHarness(t, 3*time.Minute, binary, "run", "--dir", host, "--out", out, "--env", "GREETING=it's", "--", "sh", "-c", probe)
	if got.code != 7 || got.stdout != "to stdout\n" || !strings.HasSuffix(got.stderr, "to stderr\n") {
		t.Errorf("got %+v, want exit code 7 and both outputs", got)
	}
	for name, want := range map[string]string{"greeting": "from the host", "deep/file": "x\n"} {
		content, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || string(content) != want {
			t.Errorf("/out/%s: %q, %v, want %q", name, content, err, want)
		}
	}
	if content, err := os.ReadFile(filepath.Join(host, "greeting")); err != nil || string(content) != "from the host" {
		t.Errorf("the guest changed the host's directory: %q, %v", content, err)
	}

	facts, err := os.ReadFile(filepath.Join(out, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"group 0::/command\n", "v1 0\n", "uid 0 1 it's /work/host\n", "io 67108864\n", "pressure yes\n",
		"nsdelegate,memory_recursiveprot",
		"file memory.max\nfile memory.peak\nfile cpu.max\nfile cpu.pressure\nfile io.max\nfile pids.max\nfile cpuset.cpus\nfile cgroup.kill\n",
	}
	for _, fact := range want {
		if !strings.Contains(string(facts), fact) {
			t.Errorf("no %q in\n%s", fact, facts)
		}
	}
	for line := range strings.Lines(string(facts)) {
		fields := strings.Fields(line)
		if fields[0] != "available" && fields[0] != "enabled" {
			continue
		}
		for _, controller := range []string{"cpu", "memory", "io", "pids", "cpuset"} {
			if !strings.Contains(line+" ", " "+controller+" ") && !strings.HasSuffix(line, " "+controller+"\n") {
				t.Errorf("no %s in %q", controller, line)
			}
		}
	}
}

func TestRunStreamsOutput(t *testing.T) {
	t.Parallel()
	binary := harness(t)
	cmd := exec.CommandContext(t.Context(), binary, "run", "--timeout", "2m", "--", "sh", "-c", "echo first; sleep 1000")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("first\n"))
	if _, err := io.ReadFull(output, line); err != nil || string(line) != "first\n" {
		t.Errorf("got %q, %v while the command runs", line, err)
	}
	machine := onlyChild(t, cmd.Process.Pid)

	// SIGTERM ends it at once and completely.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d after SIGTERM, want 143", code)
	}
	waitGone(t, machine)
}

func TestRunEndsAHangingCommand(t *testing.T) {
	t.Parallel()
	binary := harness(t)
	out := t.TempDir()
	// The command ignores what can be ignored.
	hang := `trap "" TERM INT HUP; echo hanging; echo saved >/out/file; while :; do sleep 1000; done`
	got := runHarness(t, 90*time.Second, binary, "run", "--timeout", "40s", "--out", out, "--", "sh", "-c", hang)
	if got.code != exitTimedOut || got.stdout != "hanging\n" || !strings.Contains(got.stderr, errTimedOut.Error()) {
		t.Errorf("got %+v, want exit code %d and %q", got, exitTimedOut, errTimedOut)
	}
	if content, err := os.ReadFile(filepath.Join(out, "file")); err != nil || string(content) != "saved\n" {
		t.Errorf("/out/file: %q, %v", content, err)
	}
}

func TestRunDoesNotOutliveTheHarness(t *testing.T) {
	t.Parallel()
	binary := harness(t)
	cmd := exec.CommandContext(t.Context(), binary, "run", "--", "sh", "-c", "echo up; sleep 1000")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, len("up\n"))); err != nil {
		t.Fatal(err)
	}
	machine := onlyChild(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	waitGone(t, machine)
}

// onlyChild returns a pidfd of the only child of a process.
func onlyChild(t *testing.T, pid int) *os.File {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, strings.Fields(string(list))...)
	}
	if len(children) != 1 {
		t.Fatalf("children %q, want one", children)
	}
	child, err := strconv.Atoi(children[0])
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("pidfd_open", err))
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { file.Close() })
	return file
}

// waitGone fails the test if the process of a pidfd doesn't end soon.
func waitGone(t *testing.T, pidfd *os.File) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, 5000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Errorf("QEMU lives on 5 s after its harness: %v", err)
		}
		return
	}
}

// TestRunUnderSystemd holds what the flavour systemd is for: units by D-Bus,
// users' own managers, and a command with its own delegated group.
func TestRunUnderSystemd(t *testing.T) {
	t.Parallel()
	binary := harness(t)
	probe := `
		systemctl is-system-running --wait
		cat /proc/1/comm /proc/self/cgroup
		systemd-run --quiet --scope --unit=probe -p MemoryMax=64M sh -c 'cat /proc/self/cgroup; cat /sys/fs/cgroup/system.slice/probe.scope/memory.max'
		loginctl enable-linger tester && systemctl start user@1000
		runuser -u tester -- env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user is-system-running
		mkdir "/sys/fs/cgroup/sandboxrun-vm.service/probe" && ls /sys/fs/cgroup/sandboxrun-vm.service/probe/io.max
		systemd-run --quiet --scope sleep 1000 &
		systemd-run --quiet --scope --slice=machine.slice sleep 1000 &
		while [ "$(pgrep -xc sleep)" -lt 2 ]; do :; done
		exit 6`
	got := runHarness(t, 4*time.Minute, binary, "run", "--image", "systemd", "--", "sh", "-c", probe)
	want := `running
systemd
0::/sandboxrun-vm.service/command
0::/system.slice/probe.scope
67108864
running
/sys/fs/cgroup/sandboxrun-vm.service/probe/io.max
`
	if got.code != 6 || got.stdout != want {
		t.Errorf("got %+v, want exit code 6 and\n%s", got, want)
	}
}

// TestTestInGuest runs this package's own tests in a guest.
func TestTestInGuest(t *testing.T) {
	t.Parallel()
	binary := harness(t)
	self := filepath.Join(t.TempDir(), "self.test")
	build := exec.Command("go", "test", "-c", "-o", self, ".")
	// The host's C library may be newer than the guest's.
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v: %s", err, out)
	}
	got := runHarness(t, 3*time.Minute, binary, "test", self, "--", "-test.run", "^(TestContentHash|TestMachineArgs|TestRun)$")
	for _, want := range []string{
		"--- PASS: TestContentHash", "--- PASS: TestMachineArgs", "--- SKIP: TestRun",
		"ok  \tgithub.com/sandboxrun/sandboxrun/test/vm\t",
	} {
		if got.code != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in %+v", want, got)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"fly"}, {"run"}, {"run", "--no-such-flag"}, {"test"}} {
		if code, err := dispatch(t.Context(), args); exitCode(code, err, io.Discard) != exitUsage {
			t.Errorf("%q: %d, %v, want usage", args, code, err)
		}
	}
	for _, args := range [][]string{{"run", "--memory", "1", "--", "true"}, {"run", "--dir", "/absent", "--", "true"}, {"run", "--env", "x=y", "--accel", "xen", "--memory", "?", "--", "true"}, {"run", "--image", "none", "--", "true"}, {"which", "--image", ""}} {
		code, err := dispatch(t.Context(), args)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot use --") || exitCode(code, err, io.Discard) != exitFailure {
			t.Errorf("%q: %d, %v, want what is wrong", args, code, err)
		}
	}
}
