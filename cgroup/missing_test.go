package cgroup

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// writeTree makes files (content by path) and, for paths that end in "/", directories.
func writeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fixtureHost makes a host of files: sys is below its root, proc below its /proc.
func fixtureHost(t *testing.T, mode Mode, sys, proc map[string]string) *Host {
	t.Helper()
	dir := t.TempDir()
	h := &Host{Mode: mode, Root: dir + "/sys", procDir: dir + "/proc", fixture: true}
	writeTree(t, h.Root, sys)
	writeTree(t, h.procDir, proc)
	return h
}

func everyLimit() *specs.LinuxResources {
	return &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		Memory: &specs.LinuxMemory{Limit: ptr[int64](1), Reservation: ptr[int64](1), Swap: ptr[int64](2), Swappiness: ptr[uint64](0),
			DisableOOMKiller: ptr(true)},
		CPU: &specs.LinuxCPU{Shares: ptr[uint64](2), Quota: ptr[int64](1000), Burst: ptr[uint64](1), Period: ptr[uint64](1000),
			RealtimeRuntime: ptr[int64](1), RealtimePeriod: ptr[uint64](1), Cpus: "0", Mems: "0", Idle: ptr[int64](1)},
		Pids: &specs.LinuxPids{Limit: ptr[int64](1)},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr[uint16](10), WeightDevice: []specs.LinuxWeightDevice{{}},
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{}}, ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{{}},
			ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{{}}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{{}}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}},
		Network:        &specs.LinuxNetwork{ClassID: ptr[uint32](1), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0"}}},
		Rdma:           map[string]specs.LinuxRdma{"mlx5_1": {}},
	}
}

// limitsByController flattens what Missing found, without its prose.
func limitsByController(missing []Missing) map[string][]string {
	found := map[string][]string{}
	for _, m := range missing {
		for _, limit := range m.Limits {
			found[m.Controller] = append(found[m.Controller], strings.TrimPrefix(limit, "linux.resources."))
		}
	}
	return found
}

func TestMissingV2(t *testing.T) {
	const all = "cpuset cpu io memory hugetlb pids rdma\n"
	memory := func() *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 20)}}
	}
	swap := func() *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](1 << 20)}}
	}
	unified := func() *specs.LinuxResources {
		return &specs.LinuxResources{Unified: map[string]string{"memory.high": "1", "cgroup.max.depth": "1", "misc.max": "x 1"}}
	}
	noLimits := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](0), DisableOOMKiller: ptr(false)}, CPU: &specs.LinuxCPU{Quota: ptr[int64](0)},
		Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}, Network: &specs.LinuxNetwork{},
	}
	withSlice := map[string]string{
		"cgroup.controllers": all, "cgroup.subtree_control": "memory\n",
		"a/cgroup.controllers": "memory\n", "a/cgroup.subtree_control": "", "a/cgroup.type": "domain\n", "a/cgroup.procs": "12\n",
	}
	for name, test := range map[string]struct {
		sys, proc map[string]string
		r         *specs.LinuxResources
		path      string
		want      map[string][]string
		why, fix  string
	}{
		"everything is there": {
			sys: map[string]string{"cgroup.controllers": all, "cgroup.subtree_control": ""}, r: everyLimit(), path: "/x",
			want: map[string][]string{
				"memory": {"memory.swappiness", "memory.disableOOMKiller"}, "cpu": {"cpu.realtimeRuntime", "cpu.realtimePeriod"},
				"net_cls": {"network.classID"}, "net_prio": {"network.priorities"},
			},
			why: "cgroup v2 has no such limit",
		},
		"nothing is asked for": {sys: map[string]string{"cgroup.controllers": ""}, r: noLimits, path: "/x", want: map[string][]string{}},
		"nil":                  {sys: map[string]string{}, r: nil, path: "/x", want: map[string][]string{}},
		"no controllers": {
			sys: map[string]string{"cgroup.controllers": "\n"}, r: memory(), path: "/x",
			want: map[string][]string{"memory": {"memory.limit"}}, why: "isn't in", fix: "CONFIG_MEMCG",
		},
		"held by v1": {
			sys: map[string]string{"cgroup.controllers": "\n"}, proc: map[string]string{"cgroups": "#subsys_name\nmemory\t4\t12\t1\n"},
			r: memory(), path: "/x", want: map[string][]string{"memory": {"memory.limit"}}, why: "in use by cgroup v1", fix: "cgroup_no_v1=memory",
		},
		"switched off": {
			sys: map[string]string{"cgroup.controllers": "\n"}, proc: map[string]string{"cgroups": "memory\t0\t1\t0\n"},
			r: memory(), path: "/x", want: map[string][]string{"memory": {"memory.limit"}}, why: "switched off", fix: "cgroup_enable=memory",
		},
		"not given by an outer container": {
			sys: map[string]string{"cgroup.controllers": "pids\n", "cgroup.type": "domain\n", "cgroup.procs": ""},
			r:   memory(), path: "/x", want: map[string][]string{"memory": {"memory.limit"}}, why: "wasn't given it", fix: "outer container",
		},
		"processes in the way": {
			sys: withSlice, r: memory(), path: "/a/x", want: map[string][]string{"memory": {"memory.limit"}},
			why: "while processes are in", fix: "move them",
		},
		"processes in the way of a threaded controller": {
			sys: withSlice, r: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](9)}}, path: "/a/x", want: map[string][]string{},
		},
		"beside the caller's own group": {
			sys: withSlice, proc: map[string]string{"self/cgroup": "3:memory:/no\n0::/a/me\n"}, r: memory(), path: "",
			want: map[string][]string{"memory": {"memory.limit"}}, why: "while processes are in",
		},
		"root of a relative path": {
			sys: withSlice, proc: map[string]string{"self/cgroup": "0::/\n"}, r: memory(), path: "x", want: map[string][]string{},
		},
		"swap not accounted": {
			sys: map[string]string{"cgroup.controllers": all, "cgroup.subtree_control": "memory", "a/cgroup.controllers": "memory",
				"a/cgroup.subtree_control": "memory", "a/memory.max": "max\n"},
			r: swap(), path: "/a/x", want: map[string][]string{"memory": {"memory.swap"}}, why: "doesn't account swap",
		},
		"swap switched off at boot": {
			sys: map[string]string{"cgroup.controllers": all, "cgroup.subtree_control": ""}, proc: map[string]string{"cmdline": "quiet swapaccount=0\n"},
			r: swap(), path: "/x", want: map[string][]string{"memory": {"memory.swap"}}, why: "swapaccount=0",
		},
		"systemd": {sys: map[string]string{"cgroup.controllers": "memory"}, r: memory(), path: "system.slice:a:b", want: map[string][]string{}},
		"unified": {
			sys: map[string]string{"cgroup.controllers": "memory\n", "cgroup.subtree_control": ""}, r: unified(), path: "/x",
			want: map[string][]string{"misc": {"unified.misc.max"}}, why: "misc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := fixtureHost(t, Unified, test.sys, test.proc)
			checkMissing(t, h, test.r, test.path, test.want, test.why, test.fix)
		})
	}
}

func TestMissingV1(t *testing.T) {
	mounted := map[string]string{
		"memory/memory.memsw.limit_in_bytes": "1", "memory/memory.swappiness": "1", "memory/memory.oom_control": "1",
		"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_burst_us": "1", "cpu/cpu.rt_runtime_us": "1", "cpu/cpu.idle": "1",
		"cpuset/": "", "pids/": "", "blkio/": "", "devices/": "", "hugetlb/": "", "net_cls/": "", "net_prio/": "", "rdma/": "",
	}
	listed := map[string]string{"cgroups": "hugetlb\t0\t1\t1\nmemory\t4\t12\t1\nnet_cls\t0\t1\t0\n"}
	for name, test := range map[string]struct {
		sys      map[string]string
		r        *specs.LinuxResources
		want     map[string][]string
		why, fix string
	}{
		"everything is there": {sys: mounted, r: everyLimit(), want: map[string][]string{}},
		"not mounted": {
			sys: map[string]string{"memory/": ""}, r: &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{}}},
			want: map[string][]string{"hugetlb": {"hugepageLimits"}}, why: "isn't mounted", fix: "mount -t cgroup -o hugetlb cgroup",
		},
		"not built": {
			sys: map[string]string{"memory/": ""}, r: &specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"x": {}}},
			want: map[string][]string{"rdma": {"rdma"}}, why: "has no rdma controller", fix: "CONFIG_CGROUP_RDMA",
		},
		"switched off": {
			sys: map[string]string{"memory/": ""}, r: &specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr[uint32](1)}},
			want: map[string][]string{"net_cls": {"network.classID"}}, why: "switched off", fix: "cgroup_enable=net_cls",
		},
		"swap not accounted": {
			sys: map[string]string{"memory/": ""}, r: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](1), Swap: ptr[int64](1)}},
			want: map[string][]string{"memory": {"memory.swap"}}, why: "doesn't account swap", fix: "swapaccount=1",
		},
		"no bandwidth control": {
			sys: map[string]string{"cpu/": ""}, r: &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr[int64](1), Shares: ptr[uint64](2)}},
			want: map[string][]string{"cpu": {"cpu.quota"}}, why: "no cpu.cfs_quota_us",
		},
		"unified": {
			sys: mounted, r: &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}},
			want: map[string][]string{"memory": {"unified.memory.high"}}, why: "cgroup v1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := fixtureHost(t, Legacy, test.sys, listed)
			checkMissing(t, h, test.r, "/x", test.want, test.why, test.fix)
		})
	}
}

// checkMissing compares what is missing and that dropping it leaves nothing missing and changes nothing
// else.
func checkMissing(t *testing.T, h *Host, r *specs.LinuxResources, path string, want map[string][]string, why, fix string) {
	t.Helper()
	missing := h.Missing(r, path, false)
	if got := limitsByController(missing); !reflect.DeepEqual(got, want) {
		t.Fatalf("missing %+v\nwant %v", missing, want)
	}
	for _, m := range missing {
		if !strings.Contains(m.Why, why) || !strings.Contains(m.Fix, fix) || m.Fix == "" || strings.ContainsRune(m.String(), '\n') {
			t.Errorf("%s\nwhy %q and fix %q wanted", m, why, fix)
		}
	}
	if r == nil {
		return
	}
	before := len(demands(r))
	count := 0
	for _, limits := range want {
		count += len(limits)
	}
	h.Drop(r, missing)
	if left := h.Missing(r, path, false); left != nil || len(demands(r)) != before-count {
		t.Errorf("after Drop: missing %v, %d limits of %d left", left, len(demands(r)), before)
	}
}

func TestDropEverything(t *testing.T) {
	r := everyLimit()
	r.Unified = map[string]string{"a.b": "1"}
	var all []string
	for _, d := range demands(r) {
		all = append(all, d.limit)
	}
	(&Host{}).Drop(r, []Missing{{Limits: all}})
	if left := demands(r); len(left) != 0 {
		t.Errorf("left after Drop: %+v", left)
	}
	(&Host{}).Drop(nil, nil)
}

func TestMissingRootless(t *testing.T) {
	h := fixtureHost(t, Legacy, map[string]string{"memory/": ""}, nil)
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{}}}
	if got := h.Missing(r, "/x", true); got != nil {
		t.Errorf("rootless containers have no device rules, but missing: %v", got)
	}
}

// Limits of a user's container that systemd makes are those that the user's own manager was given, whichever group
// the caller itself is in.
func TestMissingRootlessWithSystemd(t *testing.T) {
	const manager = "user.slice/user-4321.slice/user@4321.service/"
	h := fixtureHost(t, Unified, map[string]string{
		"cgroup.controllers": "cpu memory pids\n", manager + "cgroup.controllers": "memory pids\n", manager + "cgroup.subtree_control": "memory\n",
	}, map[string]string{"self/cgroup": "0::/user.slice/user-4321.slice/session-1.scope\n"})
	limit, quota := int64(1<<20), int64(1000)
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota}}
	got := h.Missing(r, SystemdPath, true)
	if len(got) != 1 || got[0].Controller != "cpu" || !strings.Contains(got[0].Why, "user@4321.service/cgroup.controllers") ||
		!strings.Contains(got[0].Fix, "Delegate=cpu") {
		t.Errorf("missing: %+v", got)
	}
	if got := h.Missing(r, SystemdPath, false); got != nil {
		t.Errorf("missing for root: %+v", got)
	}
}

func TestHostGroup(t *testing.T) {
	h := fixtureHost(t, Hybrid, map[string]string{"cpu,cpuacct/": "", "memory/": "", "systemd/": "", "unified/": ""}, nil)
	if err := os.Symlink("cpu,cpuacct", h.Root+"/cpu"); err != nil {
		t.Fatal(err)
	}
	g, err := h.Group("/a/b")
	want := &Group{unified: h.Root + "/unified/a/b", v1: map[string]string{
		"cpu": h.Root + "/cpu,cpuacct/a/b", "cpuacct": h.Root + "/cpu,cpuacct/a/b", "memory": h.Root + "/memory/a/b",
		"name=systemd": h.Root + "/systemd/a/b",
	}}
	if err != nil || !reflect.DeepEqual(g, want) {
		t.Errorf("got %+v, %v", g, err)
	}
	if len(g.dirs()) != 4 {
		t.Errorf("a shared hierarchy is listed twice: %v", g.dirs())
	}
	for _, path := range []string{"/", "", "a", "/a/../b", "/a/", "//a"} {
		if _, err := h.Group(path); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
}
