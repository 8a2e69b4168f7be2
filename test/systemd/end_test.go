package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A scope that failed stays loaded, and keeps its name from the next container,
// until somebody resets it.
func TestDeleteLeavesNoFailedUnit(t *testing.T) {
	g := newGround(t, 0)
	dir := g.bundle("b", program("/bin/workload", "sleep", "1h"))
	g.edit(dir, annotated("RuntimeMaxUSec", g.longerThanACreate(dir)))
	ids := []string{g.id("a"), g.id("b"), g.id("c")}
	for _, id := range ids {
		g.must("--systemd-cgroup", "create", "-b", dir, id)
	}
	for _, id := range ids {
		g.eventually(func() string {
			if g.show("--system", "sandboxrun-"+id+".scope", "ActiveState")["ActiveState"] == "failed" {
				return ""
			}
			return "the scope did not fail when its time was up"
		})
		g.waitFor(id, specs.StateStopped)
	}
	for i, way := range [][]string{{"delete", ids[0]}, {"delete", "-f", ids[1]}, {"gc", "--stopped"}} {
		g.must(way...)
		for _, unit := range g.units() {
			if strings.Contains(unit, ids[i]) {
				t.Errorf("after %q there is %s", way, unit)
			}
		}
	}
}

// longerThanACreate is a time that is over soon, but not before a container is
// there, however slow this machine is at the moment.
func (g *ground) longerThanACreate(dir string) string {
	g.t.Helper()
	began := time.Now()
	g.must("--systemd-cgroup", "create", "-b", dir, g.id("probe"))
	took := time.Since(began)
	g.must("delete", "-f", g.id("probe"))
	return fmt.Sprintf("uint64 %d", (2*took + time.Second).Microseconds())
}

// A run whose scope systemd ends is a run that was killed.
func TestRunEndsWithItsScope(t *testing.T) {
	g := newGround(t, 0)
	dir := g.bundle("b", program("/bin/workload", "sleep", "1h"))
	g.edit(dir, annotated("RuntimeMaxUSec", g.longerThanACreate(dir)))
	if o := g.sandboxrun("--systemd-cgroup", "run", "--init", "-b", dir, g.id("x")); o.code != 128+int(syscall.SIGTERM) {
		t.Errorf("the run ended with %v", o)
	}
}

// report is what these tests read of one.
type report struct {
	Reason string `json:"reason"`
	Limits struct {
		Memory *int64   `json:"memory_bytes"`
		CPUs   *float64 `json:"cpus"`
		Cpuset *string  `json:"cpuset"`
		Pids   *int64   `json:"pids"`
	} `json:"limits"`
	OOM struct {
		Kills *int64 `json:"kills"`
	} `json:"oom"`
}

func (g *ground) report(path string) report {
	g.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		g.t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		g.t.Fatal(err)
	}
	return r
}

func is[T comparable](have *T, want T) bool { return have != nil && *have == want }

// systemd removes the group as soon as the program has ended. What must be known
// all the same is what the program was held to, and whether it ended for that.
func TestReportReadsTheScope(t *testing.T) {
	g := newGround(t, 0)
	dir := g.bundle("b", both(program("/bin/workload", "hog", "128M"), limited(commonLimits())))
	path := filepath.Join(g.dir, "report.json")
	if o := g.sandboxrun("--systemd-cgroup", "run", "--report", path, "-b", dir, g.id("x")); o.code != 137 {
		t.Errorf("a program that needs more memory than its limit ended with %v", o)
	}
	r := g.report(path)
	if !is(r.Limits.Memory, 64<<20) || !is(r.Limits.CPUs, 0.5) || !is(r.Limits.Cpuset, "0") || !is(r.Limits.Pids, 50) {
		t.Errorf("limits are %+v", r.Limits)
	}
	if r.Reason != "oom" || !is(r.OOM.Kills, 1) {
		t.Errorf("report is %+v", r)
	}
}

// The first process dies with the supervisor; what it forked lives on in the
// host's PID namespace, and keeps the scope.
func TestGCStopsTheScopeOfADeadSupervisor(t *testing.T) {
	g := newGround(t, 0)
	id := g.id("x")
	dir := g.bundle("b", both(program("/bin/sh", "-c", "sleep 3600 & sleep 3600 & wait"), withoutNamespace(specs.PIDNamespace)))
	supervisor := g.start(os.Getenv("SANDBOXRUN_BIN"), "--root", g.root, "--systemd-cgroup", "run", "-b", dir, id)
	unit := "sandboxrun-" + id + ".scope"
	g.eventually(func() string {
		if o := g.sandboxrun("ps", "-f", "json", id); o.code == 0 {
			var pids []int
			if json.Unmarshal([]byte(o.stdout), &pids) == nil && len(pids) == 3 {
				return ""
			}
		}
		return "the program has not forked"
	})
	if err := supervisor.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := supervisor.wait(patience); err != nil {
		t.Fatal(err)
	}
	if got := g.show("--system", unit, "ActiveState")["ActiveState"]; got != "active" {
		t.Errorf("the scope is %s while processes are in it", got)
	}
	g.must("gc")
	if left := g.units(); len(left) > 0 {
		t.Errorf("after gc there is %q", left)
	}
}

func withoutNamespace(kind specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
	}
}

// Units of root's own manager and of a user's are asked for at different buses,
// and libcontainer speaks with one only.
func TestContainersOfBothManagersUnderOneRoot(t *testing.T) {
	g := newGround(t, 0)
	dir := g.bundle("b", program("/bin/workload", "sleep", "1h"))
	g.must("--systemd-cgroup", "create", "-b", dir, g.id("system"))
	g.env = append(g.env, "XDG_RUNTIME_DIR=/run/user/0", "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere")
	if o := g.sandboxrun("--systemd-cgroup", "--rootless", "true", "create", "-b", dir, g.id("user")); o.code != 1 {
		t.Errorf("without a bus: %v", o)
	}
	g.must("list")
	g.must("delete", "-f", g.id("system"))
}
