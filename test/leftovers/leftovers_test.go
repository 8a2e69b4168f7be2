package leftovers_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

func TestHasNameKnowsWhereANumberEnds(t *testing.T) {
	for text, want := range map[string]bool{
		"4:pids:/sandboxrun-it7-1":   true,
		"4:pids:/sandboxrun-it7-1-k": true,
		"4:pids:/sandboxrun-it7-12":  false,
		"it7-12 it7-1/x":             true,
		"":                           false,
	} {
		if got := leftovers.HasName(text, "it7-1"); got != want {
			t.Errorf("HasName(%q) = %v, want %v", text, got, want)
		}
	}
}

// start starts a program that lives until the test's end, if nobody kills it before. It is waited for by
// calling what start returns.
func start(t *testing.T, command *exec.Cmd) (wait func()) {
	t.Helper()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		command.Wait() //nolint:errcheck // killed
		close(ended)
	}()
	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck // it may have ended
		<-ended
	})
	return func() { <-ended }
}

// find looks for one process alone.
func find(pid int) []leftovers.Process {
	return leftovers.Processes(func(p leftovers.Process) string {
		if p.PID == pid {
			return "number"
		}
		return ""
	})
}

func TestAProcessIsKnownByWhatIsItsOwn(t *testing.T) {
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "sleep", "1h")
	command.Dir, command.Env = dir, []string{"OURS=yes", "EMPTY="}
	wait := start(t, command)
	var p leftovers.Process
	// It has this process's arguments and environment until its execve(2).
	for len(p.Args()) != 2 || !p.HasVariable("OURS", func(string) bool { return true }) {
		found := find(command.Process.Pid)
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		p = found[0]
	}
	if !slices.Equal(p.Args(), []string{"sleep", "1h"}) || !strings.Contains(p.String(), `"sleep 1h"`) {
		t.Errorf("it is %v", p)
	}
	is := func(want string) func(string) bool { return func(value string) bool { return value == want } }
	if !p.HasVariable("OURS", is("yes")) || !p.HasVariable("EMPTY", is("")) || p.HasVariable("OUR", is("S=yes")) || p.HasVariable("OURS", is("no")) {
		t.Error("its environment is another")
	}
	if !p.WorksIn(dir) || !p.WorksIn(filepath.Dir(dir)) || p.WorksIn(dir[:len(dir)-1]) || p.WorksIn(dir+"/x") {
		t.Errorf("it does not work in %s", dir)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	wait()
	if found := find(p.PID); len(found) > 0 {
		t.Errorf("it lives: %v", found)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill what is dead: %v", err)
	}
}

func TestAZombieIsDead(t *testing.T) {
	command := exec.CommandContext(t.Context(), "true")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, command.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if found := find(command.Process.Pid); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// TestAMountThatIsLeftIsNoProcess: it is in every process's mount table. Once all of a machine's processes were swept
// since they had a mount that a test had left.
func TestAMountThatIsLeftIsNoProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "x")
	if err := errors.Join(os.Mkdir(at, 0o755), unix.Mount("none", at, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	// With a mount namespace of its own it has the mount too, and the host's root.
	beside := exec.CommandContext(t.Context(), "sleep", "1h")
	beside.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	start(t, beside)
	found := leftovers.Processes(func(p leftovers.Process) string {
		if p.HasMountsBelow(dir) {
			return "mounts"
		}
		return ""
	})
	if len(found) > 0 {
		t.Errorf("%d processes are taken for the test's: %v", len(found), found[0])
	}
}

func TestWhatASweepRemoves(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for mounts and control groups")
	}
	dir := t.TempDir()
	below := func() (found []leftovers.Mount) {
		for _, m := range leftovers.Mounts() {
			if strings.HasPrefix(m.Point, dir+"/") {
				found = append(found, m)
			}
		}
		return found
	}
	inner := filepath.Join(dir, "x", "y")
	err := errors.Join(os.Mkdir(filepath.Dir(inner), 0o755), unix.Mount("none", filepath.Dir(inner), "tmpfs", 0, ""),
		os.Mkdir(inner, 0o755), unix.Mount("none", inner, "tmpfs", 0, ""))
	t.Cleanup(func() { leftovers.Unmount(below()) })
	if mounts := below(); err != nil || len(mounts) != 2 || mounts[1].Point != inner || !strings.Contains(mounts[1].Line, " tmpfs none ") {
		t.Fatalf("%v, and there are %v", err, mounts)
	}
	leftovers.Unmount(below())
	if rest := below(); len(rest) > 0 {
		t.Errorf("left: %v", rest)
	}

	hierarchy := "/sys/fs/cgroup"
	if _, err := os.Stat(hierarchy + "/pids/cgroup.procs"); err == nil {
		hierarchy += "/pids"
	}
	name := "sandboxrun-" + strings.ToLower(filepath.Base(filepath.Dir(dir)))
	groups := func() []string {
		return leftovers.Cgroups(func(dir string) bool { return strings.Contains(dir, name) })
	}
	t.Cleanup(func() { leftovers.RemoveCgroups(groups()) })
	if err := os.MkdirAll(filepath.Join(hierarchy, name, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found := groups(); len(found) != 2 || found[1] != filepath.Join(hierarchy, name, "below") {
		t.Errorf("found %v", found)
	}
	sleeping := exec.CommandContext(t.Context(), "sleep", "1h")
	wait := start(t, sleeping)
	if err := leftovers.KillAll(func() []leftovers.Process { return find(sleeping.Process.Pid) }, groups); err != nil {
		t.Error(err)
	}
	wait()
	leftovers.RemoveCgroups(groups())
	if rest := groups(); len(rest) > 0 {
		t.Errorf("left: %v", rest)
	}
}
