package cgroup

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fixture returns the absolute path of a tree under testdata. Files there are copies of what kernels
// print, in a parent group and a group in it.
func fixture(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func openGroup(t *testing.T, paths map[string]string) *Group {
	t.Helper()
	g, err := Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func v1Fixture(t *testing.T) map[string]string {
	root := fixture(t, "v1")
	paths := map[string]string{}
	for _, controller := range []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer"} {
		paths[controller] = root + "/" + controller + "/env/app"
	}
	return paths
}

func TestStatsFixtures(t *testing.T) {
	v2 := &Stats{
		CPU: CPUStats{UserSeconds: ptr(1.5), SystemSeconds: ptr(0.25), Periods: ptr[uint64](40), ThrottledPeriods: ptr[uint64](30),
			ThrottledSeconds: ptr(2.0)},
		Memory: MemoryStats{PeakBytes: ptr[uint64](67108864), SwapPeakBytes: ptr[uint64](4096)},
		OOM:    OOMStats{Kills: ptr[uint64](3)},
		Pids:   PidsStats{Peak: ptr[uint64](7)},
		IO:     IOStats{ReadBytes: ptr[uint64](5120), WrittenBytes: ptr[uint64](8192)},
		Pressure: PressureStats{CPU: Pressure{ptr(1.0), ptr(0.0)}, Memory: Pressure{ptr(0.5), ptr(0.25)},
			IO: Pressure{ptr(0.000001), ptr(0.0)}},
	}
	v1 := &Stats{
		CPU: CPUStats{UserSeconds: ptr(1.5), SystemSeconds: ptr(0.25), Periods: ptr[uint64](40), ThrottledPeriods: ptr[uint64](30),
			ThrottledSeconds: ptr(2.0)},
		Memory: MemoryStats{PeakBytes: ptr[uint64](67108864)},
		OOM:    OOMStats{Kills: ptr[uint64](5)}, // 2 of its own, 3 in a group below
		Pids:   PidsStats{Peak: ptr[uint64](7)},
		IO:     IOStats{ReadBytes: ptr[uint64](5120), WrittenBytes: ptr[uint64](8192)},
	}
	hybrid := *v1
	hybrid.CPU.UserSeconds, hybrid.CPU.SystemSeconds = ptr(1.512345), ptr(0.251)
	hybrid.Pressure = v2.Pressure
	hybridPaths := v1Fixture(t)
	hybridPaths[""] = fixture(t, "hybrid/env/app")
	for name, test := range map[string]struct {
		paths map[string]string
		want  *Stats
	}{
		"v2":                        {map[string]string{"": fixture(t, "v2/env/app")}, v2},
		"v1":                        {v1Fixture(t), v1},
		"hybrid":                    {hybridPaths, &hybrid},
		"v2 without controllers":    {map[string]string{"": fixture(t, "v2-bare/app")}, &Stats{CPU: CPUStats{UserSeconds: ptr(1.5), SystemSeconds: ptr(0.25)}}},
		"v1 with nothing but pids":  {map[string]string{"pids": v1Fixture(t)["pids"]}, &Stats{Pids: v1.Pids}},
		"v1 kernel without figures": {map[string]string{"memory": fixture(t, "v1/empty"), "cpu": fixture(t, "v1/empty"), "blkio": fixture(t, "v1/empty")}, &Stats{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := openGroup(t, test.paths).Stats()
			if err != nil || !reflect.DeepEqual(got, test.want) {
				g, _ := json.Marshal(got)
				w, _ := json.Marshal(test.want)
				t.Errorf("%v\ngot  %s\nwant %s", err, g, w)
			}
		})
	}
}

// TestStatsKeys holds the names that the exit report promises.
func TestStatsKeys(t *testing.T) {
	got, err := json.Marshal(&Stats{})
	want := `{"cpu":{"user_seconds":null,"system_seconds":null,"periods":null,"throttled_periods":null,"throttled_seconds":null},` +
		`"memory":{"peak_bytes":null,"swap_peak_bytes":null},"oom":{"kills":null,"victims":null},"pids":{"peak":null},` +
		`"io":{"read_bytes":null,"written_bytes":null},"pressure":{"cpu":{"some_seconds":null,"full_seconds":null},` +
		`"memory":{"some_seconds":null,"full_seconds":null},"io":{"some_seconds":null,"full_seconds":null}}}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, _ = json.Marshal(EffectiveLimits{})
	if want := `{"memory_bytes":null,"memory_swap_bytes":null,"cpus":null,"cpuset":null,"pids":null,"io_max":null}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStatsErrors(t *testing.T) {
	g := openGroup(t, map[string]string{"": filepath.Join(t.TempDir(), "gone")})
	if _, err := g.Stats(); !errors.Is(err, ErrRemoved) {
		t.Errorf("removed group: %v", err)
	}
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"memory.peak": "many\n", "pids.peak": "3\n", "cpu.stat": "usage_usec x\n", "io.stat": "8:0 rbytes=x\n",
		"cpu.pressure": "some total=x\n"})
	stats, err := openGroup(t, map[string]string{"": dir}).Stats()
	for _, name := range []string{"memory.peak", "cpu.stat", "io.stat", "cpu.pressure"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v doesn't name %s", err, name)
		}
	}
	if stats == nil || stats.Pids.Peak == nil || *stats.Pids.Peak != 3 || stats.Memory.PeakBytes != nil {
		t.Errorf("the readable figures are %+v", stats)
	}
}

func TestCPUUsage(t *testing.T) {
	hybrid := v1Fixture(t)
	delete(hybrid, "cpuacct")
	hybrid[""] = fixture(t, "hybrid/env/app")
	for name, test := range map[string]struct {
		paths map[string]string
		want  time.Duration
		err   error
	}{
		"v2":                     {map[string]string{"": fixture(t, "v2/env/app")}, 1750 * time.Millisecond, nil},
		"v1":                     {v1Fixture(t), 1750123456 * time.Nanosecond, nil},
		"hybrid, cpuacct absent": {hybrid, 1763345 * time.Microsecond, nil},
		"nothing":                {map[string]string{"pids": "/x"}, 0, ErrNotSupported},
		"removed":                {map[string]string{"cpuacct": "/absent/x"}, 0, ErrRemoved},
		"no file":                {map[string]string{"cpuacct": t.TempDir()}, 0, ErrNotSupported},
	} {
		got, err := openGroup(t, test.paths).CPUUsage()
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, err, test.want, test.err)
		}
	}
}

func TestEffectiveFixtures(t *testing.T) {
	rates := []EffectiveIOMax{
		{Device: "8:0", RBps: ptr[uint64](1048576), WIOps: ptr[uint64](100)},
		{Device: "8:16", WBps: ptr[uint64](4096)},
	}
	for name, test := range map[string]struct {
		paths map[string]string
		want  EffectiveLimits
	}{
		"v2": {map[string]string{"": fixture(t, "v2/env/app")}, EffectiveLimits{
			MemoryBytes:     ptr[int64](67108864), // its own; the parent's is larger
			MemorySwapBytes: ptr[int64](67108864 + 1048576),
			CPUs:            ptr(0.5), // the parent's; its own is max
			Cpuset:          ptr("0-1"), Pids: ptr[int64](64), IOMax: rates,
		}},
		"v2 without controllers": {map[string]string{"": fixture(t, "v2-bare/app")}, EffectiveLimits{}},
		"v1": {v1Fixture(t), EffectiveLimits{
			MemoryBytes: ptr[int64](67108864), CPUs: ptr(0.5), Cpuset: ptr("0-1"), Pids: ptr[int64](64), IOMax: rates,
		}},
		"v1 kernel without figures": {map[string]string{"memory": fixture(t, "v1/empty"), "cpu": fixture(t, "v1/empty"),
			"pids": fixture(t, "v1/empty"), "blkio": fixture(t, "v1/empty"), "cpuset": fixture(t, "v1/empty")}, EffectiveLimits{}},
	} {
		if got := openGroup(t, test.paths).Effective(); !reflect.DeepEqual(got, test.want) {
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(test.want)
			t.Errorf("%s:\ngot  %s\nwant %s", name, g, w)
		}
	}
}

func TestUnlimitedV1(t *testing.T) {
	for _, pageSize := range []int64{4 << 10, 16 << 10, 64 << 10} {
		if n := math.MaxInt64 / pageSize * pageSize; parseLimitV1(strconv.FormatInt(n, 10)) != nil {
			t.Errorf("%d, unlimited with pages of %d bytes, is read as a limit", n, pageSize)
		}
	}
}

func TestProcessesFixture(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"m/g/cgroup.procs": "30\n4\n", "m/g/sub/cgroup.procs": "5\n", "p/g/cgroup.procs": "4\n0\n", "e/g/": ""})
	got, err := openGroup(t, map[string]string{"memory": dir + "/m/g", "pids": dir + "/p/g", "cpu": dir + "/e/g", "x": dir + "/gone"}).Processes()
	if want := []int{0, 4, 5, 30}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	writeTree(t, dir, map[string]string{"e/g/cgroup.procs": "x\n"})
	if got, err := openGroup(t, map[string]string{"": dir + "/e/g"}).Processes(); err == nil {
		t.Errorf("a malformed list gave %v", got)
	}
}

func TestOpenErrors(t *testing.T) {
	for name, paths := range map[string]map[string]string{
		"nil": nil, "empty": {}, "relative": {"": "a/b"}, "empty path": {"memory": ""}, "not clean": {"": "/a/../b"},
	} {
		if g, err := Open(paths); err == nil {
			t.Errorf("%s: opened %+v", name, g)
		}
	}
}

func TestRefuseRoot(t *testing.T) {
	for _, dir := range []string{"/", "/proc", "/sys"} {
		g := openGroup(t, map[string]string{"": dir})
		if err := g.Kill(t.Context()); !errors.Is(err, ErrHierarchyRoot) {
			t.Errorf("Kill of %s: %v", dir, err)
		}
	}
	host, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	dir := host.Root
	if host.Mode != Unified {
		dir += "/memory"
	}
	g := openGroup(t, map[string]string{"memory": dir})
	if err := g.Kill(t.Context()); !errors.Is(err, ErrHierarchyRoot) {
		t.Errorf("Kill of %s: %v", dir, err)
	}
	if os.Getuid() != 0 {
		return
	}
	if err := g.Remove(t.Context()); !errors.Is(err, ErrHierarchyRoot) {
		t.Errorf("Remove of %s: %v", dir, err)
	}
}
