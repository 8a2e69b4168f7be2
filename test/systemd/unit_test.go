package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// placed puts the container where cgroupsPath says.
func placed(path string) func(*specs.Spec) {
	return func(spec *specs.Spec) { spec.Linux.CgroupsPath = path }
}

func limited(r specs.LinuxResources) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		devices := spec.Linux.Resources.Devices
		spec.Linux.Resources = &r
		r.Devices = devices
	}
}

func annotated(name, value string) func(*specs.Spec) {
	return func(spec *specs.Spec) {
		if spec.Annotations == nil {
			spec.Annotations = map[string]string{}
		}
		spec.Annotations["org.systemd.property."+name] = value
	}
}

func commonLimits() specs.LinuxResources {
	return specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))},
		CPU:    &specs.LinuxCPU{Quota: new(int64(50000)), Period: new(uint64(100000)), Cpus: "0"},
		Pids:   &specs.LinuxPids{Limit: new(int64(50))},
	}
}

// volatile are properties that tell of the moment and not of the unit.
var volatile = regexp.MustCompile(`^(.*Timestamp.*|InvocationID|.*Current|.*NSec|IO.*(Bytes|Operations)|IP.*(Bytes|Packets)|ControlGroupId|` +
	`MemoryAvailable|Effective.*|Transient|DropInPaths|Names|Id|Description|ControlGroup|FragmentPath)$`)

// TestUnitHasTheLimitsOfTheSpec compares every property of the unit with the one
// that runc makes for the same bundle, and some with what they must be.
func TestUnitHasTheLimitsOfTheSpec(t *testing.T) {
	for _, c := range []struct {
		name string
		path string // %s is the name
		edit func(*specs.Spec)
		unit string // of sandboxrun; %s is the ID
		want map[string]string
	}{
		{
			"limits in a slice", "system.slice:sdt:%s", limited(commonLimits()), "sdt-%s.scope",
			map[string]string{
				"Slice": "system.slice", "Delegate": "yes", "ActiveState": "active", "MemoryMax": "67108864", "CPUQuotaPerSecUSec": "500ms",
				"CPUQuotaPeriodUSec": "100ms", "TasksMax": "50", "AllowedCPUs": "0",
			},
		},
		{
			"no path", "", limited(specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(2048))}}), "sandboxrun-%s.scope",
			map[string]string{"Slice": "system.slice", "CPUWeight": "174", "MemoryMax": "infinity"},
		},
		{
			"the default slice, reservation, swap and no limit of processes", ":sdt:%s", limited(specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Reservation: new(int64(32 << 20)), Swap: new(int64(96 << 20))},
				Pids:   &specs.LinuxPids{Limit: new(int64(-1))},
			}), "sdt-%s.scope",
			map[string]string{"Slice": "system.slice", "MemoryLow": "33554432", "MemorySwapMax": "33554432", "TasksMax": "infinity"},
		},
		{
			"unified keys", "system.slice:sdt:%s", limited(specs.LinuxResources{Unified: map[string]string{
				"memory.high": "50331648", "memory.max": "max", "cpu.max": "30000 100000", "pids.max": "77", "cpu.weight": "42", "cpuset.cpus": "0-1",
			}}), "sdt-%s.scope",
			map[string]string{"MemoryHigh": "50331648", "CPUQuotaPerSecUSec": "300ms", "TasksMax": "77", "CPUWeight": "42", "AllowedCPUs": "0-1"},
		},
		{
			"properties by annotations", "system.slice:sdt:%s", both(
				annotated("TimeoutStopUSec", "uint64 3000000"), annotated("CollectMode", "'inactive-or-failed'"), annotated("RuntimeMaxSec", "int32 900"),
			), "sdt-%s.scope",
			map[string]string{"TimeoutStopUSec": "3s", "CollectMode": "inactive-or-failed", "RuntimeMaxUSec": "15min"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t, 0)
			id := g.id("unit")
			path := c.path
			if path != "" {
				path = fmt.Sprintf(path, id)
			}
			dir := g.bundle("b", both(program("/bin/workload", "sleep", "1h"), c.edit, placed(path)))
			g.must("--systemd-cgroup", "create", "-b", dir, id)
			unit := fmt.Sprintf(c.unit, id)
			ours := g.show("--system", unit)
			for name, want := range c.want {
				if got := ours[name]; got != want {
					t.Errorf("%s=%s, want %s", name, got, want)
				}
			}
			if got, want := g.group(g.state(id).Pid), ours["ControlGroup"]; got != want || got == "" {
				t.Errorf("the first process is in %q, the unit is %q", got, want)
			}
			g.must("delete", "-f", id)

			theirs := g.runcUnit(dir, id, strings.Replace(unit, "sandboxrun-", "runc-", 1))
			for _, difference := range compareUnits(ours, theirs) {
				t.Error(difference)
			}
		})
	}
}

// runcUnit returns the properties of the unit that runc makes, and removes it.
func (g *ground) runcUnit(dir, id, unit string, then ...[]string) map[string]string {
	g.t.Helper()
	runc := func(args ...string) {
		g.t.Helper()
		all := append([]string{"--root", filepath.Join(g.dir, "runc"), "--systemd-cgroup"}, args...)
		if o := g.run(os.Getenv("SANDBOXRUN_RUNC"), all...); o.code != 0 {
			g.t.Fatalf("runc %q: %v", args, o)
		}
	}
	runc("create", "-b", dir, id)
	defer runc("delete", "-f", id)
	for _, args := range then {
		runc(args...)
	}
	return g.show("--system", unit)
}

func compareUnits(ours, theirs map[string]string) []string {
	var differences []string
	for name, value := range theirs {
		if have, found := ours[name]; !volatile.MatchString(name) && (!found || have != value) {
			differences = append(differences, fmt.Sprintf("%s=%q, runc's unit has %q", name, have, value))
		}
	}
	for name, value := range ours {
		if _, found := theirs[name]; !found && !volatile.MatchString(name) {
			differences = append(differences, fmt.Sprintf("%s=%q, runc's unit has none", name, value))
		}
	}
	return differences
}

func TestScopeIsInTheSliceOfTheSpec(t *testing.T) {
	g := newGround(t, 0)
	slice := g.id("a") + "-b.slice" // a.slice, and a-b.slice in it
	t.Cleanup(func() {
		if o := g.run("systemctl", "stop", strings.SplitN(slice, "-", 2)[0]+".slice"); o.code != 0 {
			t.Error(o)
		}
	})
	dir := g.bundle("b", both(program("/bin/workload", "sleep", "1h"), placed(slice+":pre:"+g.id("x"))))
	g.must("--systemd-cgroup", "create", "-b", dir, g.id("x"))
	want := fmt.Sprintf("/%[1]s.slice/%[1]s-a.slice/%[1]s-a-b.slice/pre-%[1]s-x.scope", g.name)
	if got := g.group(g.state(g.id("x")).Pid); got != want {
		t.Errorf("the first process is in %q, want %q", got, want)
	}
	g.must("delete", "-f", g.id("x"))
}

// An ID may hold what a unit's name may not, or what makes it another unit.
func TestEveryIDMakesAScope(t *testing.T) {
	g := newGround(t, 0)
	dir := g.bundle("b", program("/bin/workload", "true"))
	for _, suffix := range []string{"c++", "web.slice", "a_b.c-d"} {
		g.must("--systemd-cgroup", "run", "-b", dir, g.id(suffix))
	}
}

func TestWhatSystemdCannotDoIsOneLine(t *testing.T) {
	g := newGround(t, 0)
	for i, c := range []struct {
		name  string
		edit  func(*specs.Spec)
		parts []string
	}{
		{"a path of the other manager", placed("/sdt"), []string{`config.json: linux.cgroupsPath: "/sdt": it has not three parts; `, "slice:prefix:name"}},
		{"no slice", placed("system:sdt:x"), []string{`"system" is no name of a slice; `}},
		{"an unknown property", annotated("NoSuchThing", "true"), []string{"systemd refuses the container's unit; ", "NoSuchThing"}},
		{"a property of another type", annotated("TimeoutStopUSec", "'long'"), []string{"systemd refuses the container's unit; "}},
		{"a value that is none", annotated("CollectMode", "'open"), []string{"org.systemd.property.CollectMode='open"}},
		{"a name that is none", annotated("No-Name", "1"), []string{"org.systemd.property.No-Name"}},
		{"a name with a slash", placed("system.slice:sdt:a/b"), []string{"a unit's name has no slash; "}},
		{"a slice that is none", placed("a/b.slice:sdt:x"), []string{"a unit's name has no slash; "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := g.bundle(fmt.Sprint("b", i), both(program("/bin/workload", "true"), c.edit))
			g.with(t).oneLine(g.sandboxrun("--systemd-cgroup", "run", "-b", dir, g.id("x")), c.parts...)
		})
	}
}

func TestUpdateChangesTheUnit(t *testing.T) {
	g := newGround(t, 0)
	id := g.id("x")
	dir := g.bundle("b", both(program("/bin/workload", "sleep", "1h"), limited(commonLimits()), placed("system.slice:sdt:"+id)))
	changes := []string{"update", "--memory", "100663296", "--cpu-period", "50000", "--cpu-quota", "75000", "--pids-limit", "33", "--cpuset-cpus", "0-1", id}
	g.must("--systemd-cgroup", "create", "-b", dir, id)
	g.must(append([]string{"--systemd-cgroup"}, changes...)...)
	ours := g.show("--system", "sdt-"+id+".scope")
	for name, want := range map[string]string{
		"MemoryMax": "100663296", "CPUQuotaPerSecUSec": "1.500000s", "CPUQuotaPeriodUSec": "50ms", "TasksMax": "33", "AllowedCPUs": "0-1",
	} {
		if got := ours[name]; got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	// Without the global flag as well: it is the container that has a unit.
	g.must("update", "--pids-limit", "34", id)
	if got := g.show("--system", "sdt-"+id+".scope", "TasksMax")["TasksMax"]; got != "34" {
		t.Errorf("TasksMax=%s after an update without --systemd-cgroup", got)
	}
	g.must("delete", "-f", id)
	for _, difference := range compareUnits(ours, g.runcUnit(dir, id, "sdt-"+id+".scope", changes)) {
		t.Error(difference)
	}
}

func TestPauseAndExecAreInTheScope(t *testing.T) {
	g := newGround(t, 0)
	id := g.id("x")
	dir := g.bundle("b", both(program("/bin/workload", "sleep", "1h"), placed("system.slice:sdt:"+id)))
	g.must("--systemd-cgroup", "run", "-d", "-b", dir, id)
	scope := "/system.slice/sdt-" + id + ".scope"
	g.must("exec", "-d", "--pid-file", filepath.Join(g.dir, "pid"), id, "/bin/workload", "sleep", "1h")
	var pids []int
	if err := json.Unmarshal([]byte(g.must("ps", "-f", "json", id).stdout), &pids); err != nil {
		t.Fatal(err)
	}
	if len(pids) != 2 {
		t.Fatalf("processes %v, want two", pids)
	}
	for _, pid := range pids {
		if got := g.group(pid); got != scope {
			t.Errorf("process %d is in %q, want %q", pid, got, scope)
		}
	}
	g.must("pause", id)
	g.waitFor(id, "paused")
	events, err := os.ReadFile("/sys/fs/cgroup" + scope + "/cgroup.events")
	if err != nil || !strings.Contains(string(events), "frozen 1") {
		t.Errorf("paused, but %s has %q (%v)", scope, events, err)
	}
	// As a reload by the administrator: it must not thaw or lose the scope.
	if o := g.run("systemctl", "daemon-reload"); o.code != 0 {
		t.Error(o)
	}
	g.waitFor(id, "paused")
	g.must("resume", id)
	g.waitFor(id, specs.StateRunning)
	g.must("delete", "-f", id)
}
