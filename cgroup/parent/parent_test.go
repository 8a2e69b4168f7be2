package parent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

func ptr[T any](v T) *T { return &v }

func TestMain(m *testing.M) {
	code := m.Run()
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		if left, _ := filepath.Glob(pattern + testPrefix() + "*"); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "cgroups left behind: %v\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

func testPrefix() string { return fmt.Sprintf("sandboxrun-test-parent-%d-", os.Getpid()) }

func testPath(t *testing.T) string { return "/" + testPrefix() + strings.ToLower(t.Name()) }

// requireHost wants root and cgroups of the given kind. In the VM of test/vm v2 has to be there.
func requireHost(t *testing.T, unified bool) *cgroup.Host {
	t.Helper()
	inVM := os.Getenv("SANDBOXRUN_IN_VM") == "1"
	host, err := cgroup.Detect()
	switch {
	case err != nil && inVM, err == nil && inVM && unified && host.Mode != cgroup.Unified, inVM && os.Getuid() != 0:
		t.Fatalf("in the VM: host %+v, %v, uid %d", host, err, os.Getuid())
	case err != nil:
		t.Skip(err)
	case (host.Mode == cgroup.Unified) != unified:
		t.Skipf("the host is %s", host.Mode)
	case os.Getuid() != 0:
		t.Skip("making groups needs root")
	}
	return host
}

// removed removes a group from its path alone, twice, and asserts that it is gone.
func removed(t *testing.T, host *cgroup.Host, path string) {
	t.Helper()
	g, err := host.Group(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for range 2 {
		if err := g.Remove(ctx); err != nil {
			t.Error(err)
		}
	}
	if left := g.Existing(); left != nil {
		t.Errorf("left: %v", left)
	}
}

func limits() *specs.LinuxResources {
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](96 << 20)},
		CPU:    &specs.LinuxCPU{Quota: ptr[int64](50_000)},
		Pids:   &specs.LinuxPids{Limit: ptr[int64](40)},
	}
}

func checkLimits(t *testing.T, g *cgroup.Group) {
	t.Helper()
	got := g.Effective()
	if got.MemoryBytes == nil || *got.MemoryBytes != 64<<20 || got.MemorySwapBytes == nil || *got.MemorySwapBytes != 96<<20 ||
		got.CPUs == nil || *got.CPUs != 0.5 || got.Pids == nil || *got.Pids != 40 {
		t.Errorf("effective limits %+v", got)
	}
}

// checkChild asserts that a group below can have a process and is held by the parent's limits.
func checkChild(t *testing.T, host *cgroup.Host, path string) {
	t.Helper()
	child, err := host.Group(path + "/app")
	if err != nil {
		t.Fatal(err)
	}
	parent, err := host.Group(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range parent.Existing() {
		if err := os.Mkdir(dir+"/app", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	checkLimits(t, child)
}

func TestV1Parent(t *testing.T) {
	host := requireHost(t, false)
	path := testPath(t)
	defer removed(t, host, path)
	for range 2 { // the second time everything is there
		g, err := Create(t.Context(), host, path, limits())
		if err != nil {
			t.Fatal(err)
		}
		checkLimits(t, g)
	}
	checkChild(t, host, path)
	// What this package reads and what the library reads of the same group agree.
	theirs, err := cgroup1.Load(cgroup1.StaticPath(path))
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := theirs.Stat()
	if err != nil {
		t.Fatal(err)
	}
	g, _ := host.Group(path)
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if *stats.Memory.PeakBytes != metrics.Memory.Usage.Max || *stats.OOM.Kills != metrics.MemoryOomControl.OomKill ||
		*stats.CPU.Periods != metrics.CPU.Throttling.Periods {
		t.Errorf("ours %+v, theirs %+v", stats, metrics)
	}
	usage, err := g.CPUUsage()
	if err != nil || uint64(usage) != metrics.CPU.Usage.Total {
		t.Errorf("CPU use %d, %v; theirs %d", usage, err, metrics.CPU.Usage.Total)
	}
}

func TestV1ParentFails(t *testing.T) {
	host := requireHost(t, false)
	path := testPath(t)
	for name, r := range map[string]*specs.LinuxResources{
		"refused by the kernel": {Pids: &specs.LinuxPids{Limit: ptr[int64](1 << 40)}},
		"unified":               {Unified: map[string]string{"memory.high": "1"}},
	} {
		if _, err := Create(t.Context(), host, path, r); err == nil {
			t.Errorf("%s: no error", name)
		}
		g, err := host.Group(path)
		if err != nil {
			t.Fatal(err)
		}
		if left := g.Existing(); left != nil {
			t.Errorf("%s: left: %v", name, left)
		}
	}
	if _, err := Create(t.Context(), host, "/", nil); !errors.Is(err, cgroup.ErrHierarchyRoot) {
		t.Errorf("the root: %v", err)
	}
	if _, err := Create(t.Context(), host, path, nil); err != nil {
		t.Errorf("without limits: %v", err)
	}
	removed(t, host, path)
}

func TestV2Parent(t *testing.T) {
	host := requireHost(t, true)
	path := testPath(t) + "/env"
	defer removed(t, host, filepath.Dir(path))
	r := limits()
	r.Unified = map[string]string{"memory.high": "33554432"}
	for range 2 {
		g, err := Create(t.Context(), host, path, r)
		if err != nil {
			t.Fatal(err)
		}
		checkLimits(t, g)
	}
	high, err := os.ReadFile(host.Root + path + "/memory.high")
	if err != nil || strings.TrimSpace(string(high)) != "33554432" {
		t.Errorf("memory.high %q, %v", high, err)
	}
	checkChild(t, host, path)
	// The child has the controllers' files, and the library agrees on the figures.
	for _, file := range []string{"memory.max", "pids.max", "cpu.max", "io.max", "cpuset.cpus"} {
		if _, err := os.Stat(host.Root + path + "/app/" + file); err != nil {
			t.Error(err)
		}
	}
	theirs, err := cgroup2.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := theirs.Stat()
	if err != nil {
		t.Fatal(err)
	}
	g, _ := host.Group(path)
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if *stats.Memory.PeakBytes != metrics.Memory.MaxUsage || *stats.OOM.Kills != metrics.MemoryEvents.OomKill {
		t.Errorf("ours %+v, theirs %+v", stats, metrics)
	}
}

// TestV2ParentBelowProcesses wants an error that says why, and nothing left.
func TestV2ParentBelowProcesses(t *testing.T) {
	host := requireHost(t, true)
	path := testPath(t)
	defer removed(t, host, path)
	if err := os.Mkdir(host.Root+path, 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(host.Root+path+"/cgroup.procs", pid, 0); err != nil {
		t.Fatal(err)
	}
	_, err = Create(t.Context(), host, path+"/env", limits())
	back := strings.TrimSpace(strings.TrimPrefix(string(own), "0::"))
	if moveErr := os.WriteFile(host.Root+back+"/cgroup.procs", pid, 0); moveErr != nil {
		t.Fatal(moveErr)
	}
	if err == nil || !strings.Contains(err.Error(), "processes are in it; move them to") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(host.Root + path + "/env"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestToV2(t *testing.T) {
	unlimited := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](-1), Swap: ptr[int64](-1)}, Pids: &specs.LinuxPids{Limit: ptr[int64](-1)},
	}
	out, err := toV2(unlimited)
	if err != nil || len(out.Values()) != 0 {
		t.Errorf("unlimited gives %+v, %v", out.Values(), err)
	}
	if *unlimited.Memory.Limit != -1 || *unlimited.Pids.Limit != -1 {
		t.Error("the argument was changed")
	}
	out, err = toV2(limits())
	if err != nil || *out.Memory.Max != 64<<20 || *out.Memory.Swap != 32<<20 || string(out.CPU.Max) != "50000 100000" || out.Pids.Max != 40 {
		t.Errorf("%+v, %v", out, err)
	}
	if !slices.Equal(out.EnabledControllers(), []string{"cpu", "memory", "pids"}) {
		t.Errorf("controllers %v", out.EnabledControllers())
	}
	for _, memory := range []*specs.LinuxMemory{
		{Swap: ptr[int64](1 << 20)}, {Limit: ptr[int64](2 << 20), Swap: ptr[int64](1 << 20)},
	} {
		if _, err := toV2(&specs.LinuxResources{Memory: memory}); err == nil {
			t.Errorf("%+v was taken", memory)
		}
	}
}
