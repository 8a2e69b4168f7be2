package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A login by PAM, as ssh and the console make it, has all that is needed.
func TestWhoLogsInRunsASandbox(t *testing.T) {
	g := newGround(t, tester)
	dir := g.rootfs("box")
	script := fmt.Sprintf(`cd %s && %s spec --rootless && echo 'id -u; echo $0 $PPID; exit 7' | %[2]s run %s`,
		dir, os.Getenv("SANDBOXRUN_BIN"), g.id("x"))
	o := g.as(0).run("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=tester", "--property=PAMName=login", "sh", "-c", script)
	if o.code != 7 || !strings.Contains(o.stdout, "\n0\nsh 0\n") {
		t.Errorf("ended with %v", o)
	}
}

// rootlessBundle is one of spec --rootless.
func (g *ground) rootlessBundle(name string, edit func(*specs.Spec)) string {
	g.t.Helper()
	dir := g.rootfs(name)
	g.must("spec", "--rootless", "-b", dir)
	g.edit(dir, edit)
	return dir
}

func TestUsersInside(t *testing.T) {
	const maps = "cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; echo; id -u; echo done"
	t.Run("one, without newuidmap", func(t *testing.T) {
		g := newGround(t, tester)
		g.path = "/nowhere"
		dir := g.rootlessBundle("b", program("/bin/sh", "-c", maps))
		o := g.must("run", "-b", dir, g.id("x"))
		if want := "0 1000 1 0 1000 1 deny 0 done"; strings.Join(strings.Fields(o.stdout), " ") != want {
			t.Errorf("inside there is %q, want %q", o.stdout, want)
		}
	})
	for uid, want := range map[uint32]string{
		0:    "0 1000 1 1 100000 65536 0 1000 1 1 100000 65536 allow 0 done",
		1234: "0 1000 1 1 100000 65536 0 1000 1 1 100000 65536 allow 1234 done",
	} {
		t.Run(fmt.Sprintf("those of /etc/subuid, as %d", uid), func(t *testing.T) {
			g := newGround(t, tester)
			dir := g.rootlessBundle("b", both(program("/bin/sh", "-c", maps), func(spec *specs.Spec) {
				spec.Process.User.UID, spec.Process.User.GID = uid, uid
			}))
			o := g.must("run", "-b", dir, g.id("x"))
			if strings.Join(strings.Fields(o.stdout), " ") != want {
				t.Errorf("inside there is %q, want %q", o.stdout, want)
			}
		})
	}
}

// Every command, on a container whose cgroup the user's own systemd made.
func TestUserManagerHoldsLimits(t *testing.T) {
	g := newGround(t, tester)
	id := g.id("x")
	dir := g.rootlessBundle("b", program("/bin/workload", "sleep", "1h"))
	g.must("--systemd-cgroup", "run", "-d", "--memory", "48M", "--pids", "40", "-b", dir, id)
	unit := "sandboxrun-" + id + ".scope"
	want := map[string]string{"MemoryMax": "50331648", "TasksMax": "40", "Slice": "user.slice", "ActiveState": "active"}
	for name, value := range g.show("--user", unit, "MemoryMax", "TasksMax", "Slice", "ActiveState") {
		if value != want[name] {
			t.Errorf("%s=%s, want %s", name, value, want[name])
		}
	}
	if got, want := g.group(g.state(id).Pid), "/user.slice/user-1000.slice/user@1000.service/user.slice/"+unit; got != want {
		t.Errorf("the first process is in %q, want %q", got, want)
	}
	g.must("exec", id, "/bin/workload", "true")
	g.must("ps", id)
	g.must("pause", id)
	g.waitFor(id, "paused")
	g.must("resume", id)
	g.must("update", "--memory", "96M", id)
	if got := g.show("--user", unit, "MemoryMax")["MemoryMax"]; got != "100663296" {
		t.Errorf("MemoryMax=%s after the update", got)
	}
	if o := g.must("events", "--stats", id); !strings.Contains(o.stdout, `"limit":100663296`) {
		t.Errorf("figures: %v", o)
	}
	if o := g.must("list"); !strings.Contains(o.stdout, id) || !strings.Contains(o.stdout, "tester") {
		t.Errorf("list: %v", o)
	}
	g.must("kill", id, "KILL")
	g.waitFor(id, specs.StateStopped)
	g.must("delete", id)
}

func TestLimitsOfAUserHold(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string // of the command line
		flags  []string
	}{
		{"by the user's own systemd", nil, []string{"--systemd-cgroup"}},
		{"by a scope of his own", []string{"systemd-run", "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t, tester)
			dir := g.rootlessBundle("b", program("/bin/workload", "hog", "128M"))
			path := filepath.Join(g.dir, "report.json")
			line := append(append(append([]string{}, c.before...), os.Getenv("SANDBOXRUN_BIN")), c.flags...)
			line = append(line, "run", "--report", path, "--memory", "32M", "--pids", "30", "-b", dir, g.id("hog"))
			if o := g.run(line[0], line[1:]...); o.code != 137 || !strings.Contains(o.stderr, "OOM killer") {
				t.Errorf("a program that needs more memory than its limit ended with %v", o)
			}
			r := g.report(path)
			if r.Reason != "oom" || !is(r.OOM.Kills, 1) || !is(r.Limits.Memory, 32<<20) || !is(r.Limits.Pids, 30) {
				t.Errorf("report is %+v", r)
			}
			g.edit(dir, program("/bin/workload", "fork", "60", "0s"))
			line[len(line)-1] = g.id("fork")
			if o := g.run(line[0], line[1:]...); !strings.Contains(o.stdout, "EAGAIN") {
				t.Errorf("a program that forks more than its limit said %v", o)
			}
		})
	}
}

// What cannot be held is an error that says what would help.
func TestLimitsWithoutDelegation(t *testing.T) {
	g := newGround(t, tester)
	dir := g.rootlessBundle("b", program("/bin/workload", "true"))
	g.must("run", "-b", dir, g.id("free"))
	g.oneLine(g.sandboxrun("run", "--memory", "64M", "-b", dir, g.id("x")), "cannot enforce linux.resources.memory.limit: ", "Delegate=yes", "--systemd-cgroup")
	g.oneLine(g.sandboxrun("run", "--cpu-time", "10s", "-b", dir, g.id("x")), "cannot hold the limit on CPU time: ", "--systemd-cgroup")
	g.oneLine(g.sandboxrun("--systemd-cgroup", "run", "--cpuset", "0", "-b", dir, g.id("x")), "cannot enforce linux.resources.cpu.cpus: ", "Delegate=cpuset")
	g.must("run", "--memory", "64M", "--allow-missing-controllers", "-b", dir, g.id("x"))
}

func TestWhatNeedsACgroupSaysSo(t *testing.T) {
	g := newGround(t, tester)
	id := g.id("x")
	dir := g.rootlessBundle("b", program("/bin/workload", "sleep", "1h"))
	g.must("run", "-d", "-b", dir, id)
	for _, args := range [][]string{{"pause", id}, {"update", "--pids", "9", id}, {"ps", id}} {
		g.oneLine(g.sandboxrun(args...), "it has no cgroup of its own; ")
	}
	g.must("exec", id, "/bin/workload", "true")
	g.must("delete", "-f", id)
}

func TestBusOfTheUser(t *testing.T) {
	g := newGround(t, tester)
	dir := g.rootlessBundle("b", program("/bin/workload", "true"))
	g.env = []string{"HOME=/home/tester", "XDG_RUNTIME_DIR=" + g.dir}
	g.oneLine(g.sandboxrun("--systemd-cgroup", "run", "-b", dir, g.id("x")), "systemd cannot be reached; ", "enable-linger")
	g.must("--systemd-cgroup", "list")
	g.env = []string{"HOME=/home/tester"}
	// As another user has it.
	if err := os.Mkdir("/run/sandboxrun", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove("/run/sandboxrun"); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{{"run", "-b", dir, g.id("x")}, {"list"}, {"gc"}} {
		g.oneLine(g.sandboxrun(args...), `cannot keep state in "/run/sandboxrun": `, "; set XDG_RUNTIME_DIR, ")
	}
}

func TestDeadSupervisorOfAUserLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		uid   uint32
	}{
		{"without a cgroup, as another user inside", nil, 1234},
		{"with a scope", []string{"--systemd-cgroup"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t, tester)
			id := g.id("x")
			dir := g.rootlessBundle("b", both(program("/bin/workload", "fork", "2", "1h"), func(spec *specs.Spec) { spec.Process.User.UID = c.uid }))
			supervisor := g.start(os.Getenv("SANDBOXRUN_BIN"), append(c.flags, "run", "-b", dir, id)...)
			g.waitFor(id, specs.StateRunning)
			if err := supervisor.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, err := supervisor.wait(patience); err != nil {
				t.Fatal(err)
			}
			g.eventually(func() string {
				for _, pid := range processes() {
					if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) == "workload\n" {
						return fmt.Sprintf("process %d outlives the supervisor", pid)
					}
				}
				return ""
			})
			if o := g.must("gc"); !strings.HasPrefix(o.stdout, "removed "+id+": ") {
				t.Errorf("gc: %v", o)
			}
		})
	}
}

// setting changes a sysctl for as long as the test runs.
func setting(t *testing.T, path, value string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0o644); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestForbiddenUserNamespacesAreNamed(t *testing.T) {
	for _, name := range []string{"user.max_user_namespaces", "kernel.unprivileged_userns_clone"} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t, tester)
			dir := g.rootlessBundle("b", program("/bin/workload", "true"))
			setting(t, "/proc/sys/"+strings.ReplaceAll(name, ".", "/"), "0")
			g.oneLine(g.sandboxrun("run", "-b", dir, g.id("x")), "cannot start: "+name+" is 0 on this host", "sysctl "+name+"=")
		})
	}
}

// As with runc: who is rootless may fail to make a cgroup, and nobody else.
func TestRootlessFlag(t *testing.T) {
	for uid, codes := range map[uint32]map[string]int{
		tester: {"true": 0, "auto": 0, "false": 1},
		0:      {"true": 0, "auto": 0, "false": 0},
	} {
		g := newGround(t, uid)
		make := g.bundle
		if uid != 0 {
			make = g.rootlessBundle
		}
		dir := make("b", program("/bin/workload", "true"))
		for value, want := range codes {
			ours := g.sandboxrun("--rootless", value, "run", "-b", dir, g.id("x"))
			theirs := g.run(os.Getenv("SANDBOXRUN_RUNC"), "--root", filepath.Join(g.dir, "runc"), "--rootless", value, "run", "-b", dir, g.id("y"))
			if ours.code != want || theirs.code != want {
				t.Errorf("--rootless %s of %d: want %d from both: %v; runc: %v", value, uid, want, ours, theirs)
			}
		}
	}
}
