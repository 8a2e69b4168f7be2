package cgroup

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary run as one of the programs in roles instead of the tests.
const roleVariable = "SANDBOXRUN_CGROUP_TEST_ROLE"

// vmVariable says that the tests run in the VM of test/vm, where every cgroup v2 controller has to be.
const vmVariable = "SANDBOXRUN_IN_VM"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role))
	}
	code := m.Run()
	// Whatever the tests said: no group of this run is left.
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		left, _ := filepath.Glob(pattern + testPrefix() + "*")
		if len(left) > 0 {
			fmt.Fprintf(os.Stderr, "cgroups left behind: %v\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

func testPrefix() string { return fmt.Sprintf("sandboxrun-test-%d-", os.Getpid()) }

// hostileName is what the hog calls itself: it imitates a line of the kernel's log.
const hostileName = "h,pid=1,uid=0\n"

// runRole waits for a line on stdin, so that the parent can put the process into a group first.
func runRole(role string) int {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return 3
	}
	name, argument, _ := strings.Cut(role, " ")
	switch name {
	case "sleep":
		<-time.After(time.Minute)
	case "spin": // uses the given CPU time, from now on
		limit, _ := time.ParseDuration(argument)
		for begin := cpuTime(); cpuTime()-begin < limit; {
		}
	case "hog": // megabytes, touched page by page
		megabytes, _ := strconv.Atoi(argument)
		// A hostile name, which the kernel's log has to carry to us.
		if os.WriteFile("/proc/self/comm", []byte(hostileName), 0) != nil {
			return 7
		}
		memory, err := unix.Mmap(-1, 0, megabytes<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return 4
		}
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = 1
		}
	case "fork": // keeps starting processes that do the same
		for {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{roleVariable + "=sleep"}
			stdin, err := cmd.StdinPipe()
			if err != nil {
				return 5
			}
			if cmd.Start() != nil {
				stdin.Close()
				<-time.After(time.Millisecond)
				continue
			}
			_, _ = stdin.Write([]byte("\n"))
		}
	default:
		return 6
	}
	return 0
}

func cpuTime() time.Duration {
	var spent unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &spent)
	return time.Duration(spent.Nano())
}

// role is a running program.
type role struct {
	*exec.Cmd
	start func()
	done  chan struct{}
}

// startRole starts a program in a group; it begins its work when start is called.
func startRole(t *testing.T, g *Group, name string) *role {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=" + name, "GOMAXPROCS=1"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &role{Cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = cmd.Wait() // its status is in ProcessState
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for _, dir := range g.dirs() {
		if err := writeFile(dir+"/cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	r.start = func() { _, _ = stdin.Write([]byte("\n")) }
	return r
}

// wait returns the wait status of a program that ends by itself or was killed.
func (r *role) wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case <-r.done:
		return r.ProcessState.Sys().(syscall.WaitStatus)
	case <-time.After(30 * time.Second):
		t.Fatalf("process %d doesn't end", r.Process.Pid)
		return 0
	}
}

// newGroup makes a group in every hierarchy and removes it after the test.
func newGroup(t *testing.T, host *Host) *Group {
	t.Helper()
	g, err := host.Group("/" + testPrefix() + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkGone(t, g) })
	for _, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		// A v1 cpuset group takes no process before it has CPUs and memory nodes.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if host.Mode != Unified && dir == g.v1["cpuset"] {
				value := readText(filepath.Dir(dir) + "/" + file)
				if err := writeFile(dir+"/"+file, *value); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return g
}

// checkGone kills and removes a group and asserts that nothing is left of it.
func checkGone(t *testing.T, g *Group) {
	t.Helper()
	ctx := t.Context()
	if ctx.Err() != nil { // in a cleanup the test's context is over
		ctx = context.Background()
	}
	if err := g.Kill(ctx); err != nil {
		t.Errorf("kill: %v", err)
	}
	for range 2 { // the second time there is nothing to do
		if err := g.Remove(ctx); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if left := g.Existing(); left != nil {
		t.Errorf("groups are left: %v", left)
	}
}

func set(t *testing.T, path, value string) {
	t.Helper()
	if err := writeFile(path, value); err != nil {
		t.Fatal(err)
	}
}
