package cgroup

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// requireV1 wants root on a host with v1 controllers. In the VM there is v2 only, and the TestV2 tests.
func requireV1(t *testing.T) *Host {
	t.Helper()
	host, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	if host.Mode == Unified {
		t.Skip("the host has cgroup v2; the TestV2 tests cover it")
	}
	if os.Getuid() != 0 {
		t.Skip("making v1 groups needs root")
	}
	return host
}

func TestV1OOM(t *testing.T) {
	host := requireV1(t)
	g := newGroup(t, host)
	neighbour := neighbourOf(t, host)
	log, err := OpenOOMLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	set(t, g.v1["memory"]+"/memory.limit_in_bytes", "33554432")
	set(t, g.v1["memory"]+"/memory.memsw.limit_in_bytes", "33554432")
	set(t, g.v1["pids"]+"/pids.max", "50")
	set(t, g.v1["cpu"]+"/cpu.cfs_quota_us", "150000")
	want := EffectiveLimits{MemoryBytes: ptr[int64](32 << 20), MemorySwapBytes: ptr[int64](32 << 20), CPUs: ptr(1.5), Pids: ptr[int64](50)}
	got := g.Effective()
	if got.Cpuset == nil {
		t.Error("no effective cpuset")
	}
	got.Cpuset = nil
	if *got.MemoryBytes != *want.MemoryBytes || *got.MemorySwapBytes != *want.MemorySwapBytes || *got.CPUs != *want.CPUs || *got.Pids != *want.Pids || got.IOMax != nil {
		t.Errorf("effective %+v, want %+v", got, want)
	}
	checkOOM(t, g, neighbour, log)
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// A charge that is being refused counts for a moment: the peak may be above the limit.
	if peak := stats.Memory.PeakBytes; peak == nil {
		t.Error("no peak")
	} else if *peak < 30<<20 || *peak > 33<<20 {
		t.Errorf("peak %d, limit 32 MiB", *peak)
	}
	if stats.Memory.SwapPeakBytes != nil {
		t.Error("v1 has no peak of swap, but one is given")
	}
}

// neighbourOf names a group beside the test's, which needn't be there.
func neighbourOf(t *testing.T, host *Host) *Group {
	t.Helper()
	g, err := host.Group("/" + testPrefix() + "neighbour")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// checkOOM runs a hog into the group's memory limit of 32 MiB.
func checkOOM(t *testing.T, g, neighbour *Group, log *OOMLog) {
	t.Helper()
	if victims, err := log.Victims(g, nil); err != nil || victims == nil || len(victims) != 0 {
		t.Fatalf("victims before the OOM: %v, %v", victims, err)
	}
	hog := startRole(t, g, "hog 64")
	hog.start()
	if status := hog.wait(t); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the hog ended with %v", status)
	}
	if !log.SamePIDs() {
		// The log has the host's ids, which this namespace cannot compare.
		victims, err := log.Victims(g, nil)
		if err != nil || len(victims) > 1 || len(victims) == 1 && victims[0].Comm != hostileName {
			t.Errorf("victims %+v, %v; want one named %q", victims, err, hostileName)
		}
		return
	}
	want := []Victim{{Pid: hog.Process.Pid, Comm: hostileName}}
	victims, err := log.Victims(g, func(pid int) bool { return pid == hog.Process.Pid })
	if err != nil || !slices.Equal(victims, want) {
		t.Errorf("victims %+v, %v; want %+v", victims, err, want)
	}
	// Asking doesn't use them up. Without the caller's help only the rate limit, which is host-wide and
	// which other tests may use up, excuses not knowing.
	announced := slices.ContainsFunc(log.events, func(e oomEvent) bool { return e.kind == oomSelected && e.pid == hog.Process.Pid })
	victims, err = log.Victims(g, nil)
	if err != nil || (announced && !slices.Equal(victims, want)) {
		t.Errorf("victims by the log alone %+v, %v; want %+v", victims, err, want)
	}
	if !announced {
		t.Log("the kernel rate limited the line that names the group")
	}
	if victims, err := log.Victims(neighbour, nil); err != nil || len(victims) != 0 {
		t.Errorf("victims of a neighbour: %v, %v", victims, err)
	}
	stats, err := g.Stats()
	if err != nil || stats.OOM.Kills == nil || *stats.OOM.Kills != 1 {
		t.Errorf("OOM kills %v, %v; want 1", stats.OOM.Kills, err)
	}
}

func TestV1CPU(t *testing.T) {
	g := newGroup(t, requireV1(t))
	checkCPU(t, g, func() { set(t, g.v1["cpu"]+"/cpu.cfs_quota_us", "20000") })
}

// checkCPU burns 200 ms of CPU time under a quota of a fifth of a CPU.
func checkCPU(t *testing.T, g *Group, limit func()) {
	t.Helper()
	limit()
	spin := startRole(t, g, "spin 200ms")
	begin := time.Now()
	spin.start()
	if status := spin.wait(t); status != 0 {
		t.Fatalf("spin ended with %v", status)
	}
	if wall := time.Since(begin); wall < 500*time.Millisecond {
		t.Errorf("200 ms at a fifth of a CPU took %v", wall)
	}
	usage, err := g.CPUUsage()
	if err != nil || usage < 190*time.Millisecond || usage > 400*time.Millisecond {
		t.Errorf("usage %v, %v; want about 200ms", usage, err)
	}
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if sum := *stats.CPU.UserSeconds + *stats.CPU.SystemSeconds; sum < 0.15 || sum > 0.4 {
		t.Errorf("user %v + system %v seconds, want about 0.2", *stats.CPU.UserSeconds, *stats.CPU.SystemSeconds)
	}
	if *stats.CPU.ThrottledPeriods < 3 || *stats.CPU.ThrottledSeconds < 0.1 || *stats.CPU.Periods < *stats.CPU.ThrottledPeriods {
		t.Errorf("throttling %d of %d periods, %v seconds", *stats.CPU.ThrottledPeriods, *stats.CPU.Periods, *stats.CPU.ThrottledSeconds)
	}
	if got := g.Effective().CPUs; got == nil || *got != 0.2 {
		t.Errorf("effective CPUs %v, want 0.2", got)
	}
}

func TestV1ForkBomb(t *testing.T) {
	g := newGroup(t, requireV1(t))
	set(t, g.v1["pids"]+"/pids.max", "60")
	checkForkBomb(t, g)
}

func TestV1ForkBombWithoutCgroupKill(t *testing.T) {
	g := newGroup(t, requireV1(t))
	set(t, g.v1["pids"]+"/pids.max", "60")
	legacy := &Group{v1: g.v1}
	checkForkBomb(t, legacy)
}

// checkForkBomb kills processes that keep making new ones.
func checkForkBomb(t *testing.T, g *Group) {
	t.Helper()
	bomb := startRole(t, g, "fork")
	bomb.start()
	waitFor(t, "several processes", func() bool {
		pids, err := g.Processes()
		return err == nil && len(pids) > 3
	})
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := bomb.wait(t); status.Signal() != syscall.SIGKILL {
		t.Errorf("the first process ended with %v", status)
	}
	if pids, err := g.Processes(); err != nil || len(pids) != 0 {
		t.Errorf("left: %v, %v", pids, err)
	}
	if peak := mustStats(t, g).Pids.Peak; peak == nil || *peak < 4 || *peak > 60 {
		t.Errorf("peak of processes %v, limit 60", peak)
	}
}

func TestV1KillFrozen(t *testing.T) {
	host := requireV1(t)
	g := newGroup(t, host)
	sleeper := startRole(t, g, "sleep")
	sleeper.start()
	// A group below, frozen too, which keeps its process when the one above thaws.
	below := g.v1["freezer"] + "/below"
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	nested := startRole(t, g, "sleep")
	set(t, below+"/cgroup.procs", strconv.Itoa(nested.Process.Pid))
	set(t, below+"/freezer.state", "FROZEN")
	set(t, g.v1["freezer"]+"/freezer.state", "FROZEN")
	waitFor(t, "frozen state", func() bool {
		text := readText(g.v1["freezer"] + "/freezer.state")
		return text != nil && *text == "FROZEN"
	})
	// The trap that Kill has to avoid: SIGKILL alone doesn't end a frozen process.
	_ = sleeper.Process.Signal(syscall.SIGKILL)
	select {
	case <-sleeper.done:
		t.Fatal("a frozen process died of SIGKILL: this test tests nothing")
	case <-time.After(50 * time.Millisecond):
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	sleeper.wait(t)
	nested.wait(t)
}

func TestV1RemoveBusy(t *testing.T) {
	g := newGroup(t, requireV1(t))
	sleeper := startRole(t, g, "sleep")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := g.Remove(ctx)
	if !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 processes are in it") {
		t.Errorf("removal of a group with a process: %v", err)
	}
	if sleeper.Process.Signal(syscall.Signal(0)) != nil {
		t.Error("Remove killed a process")
	}
	// A process that goes while Remove waits.
	timer := time.AfterFunc(20*time.Millisecond, func() { _ = sleeper.Process.Kill() })
	defer timer.Stop()
	if err := g.Remove(t.Context()); err != nil {
		t.Errorf("removal while the process goes: %v", err)
	}
	if left := g.Existing(); left != nil {
		t.Errorf("left: %v", left)
	}
	if _, err := g.Stats(); !errors.Is(err, ErrRemoved) {
		t.Errorf("figures of a removed group: %v", err)
	}
	if _, err := g.CPUUsage(); !errors.Is(err, ErrRemoved) {
		t.Errorf("CPU use of a removed group: %v", err)
	}
}

func TestV1RemoveTree(t *testing.T) {
	g := newGroup(t, requireV1(t))
	for _, dir := range g.dirs() {
		if err := os.MkdirAll(dir+"/a/b/c", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir+"/d", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	checkGone(t, g)
}

func TestKillSelfRefused(t *testing.T) {
	g := newGroup(t, requireV1(t))
	own := openGroup(t, map[string]string{"pids": g.v1["pids"]})
	before := readText("/proc/self/cgroup")
	set(t, g.v1["pids"]+"/cgroup.procs", strconv.Itoa(os.Getpid()))
	err := own.Kill(t.Context())
	set(t, ownPidsGroup(*before), strconv.Itoa(os.Getpid()))
	if err == nil || !strings.Contains(err.Error(), "this process is in it") {
		t.Errorf("killing the caller's own group: %v", err)
	}
}

// ownPidsGroup returns the cgroup.procs of the group that this process was in.
func ownPidsGroup(cgroups string) string {
	for line := range strings.Lines(cgroups) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":pids:"); ok {
			return "/sys/fs/cgroup/pids" + strings.TrimSuffix(path, "/") + "/cgroup.procs"
		}
	}
	return ""
}

func TestMissingOnThisHost(t *testing.T) {
	host := requireV1(t)
	r := everyLimit()
	missing := host.Missing(r, "/sandboxrun-test", false)
	for _, m := range missing {
		mounted := isDir("/sys/fs/cgroup/" + m.Controller)
		if strings.Contains(m.Why, "mounted") && mounted {
			t.Errorf("%s, but it is", m)
		}
		t.Log(m)
	}
	plain := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 20)}}
	if unix.Access("/sys/fs/cgroup/memory/memory.limit_in_bytes", unix.F_OK) == nil {
		if got := host.Missing(plain, "/sandboxrun-test", false); got != nil {
			t.Errorf("memory can be limited, but missing: %v", got)
		}
	}
}

func mustStats(t *testing.T, g *Group) *Stats {
	t.Helper()
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// waitFor polls until a condition of the kernel's holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("no %s within 10 s", what)
		case <-poll.C:
		}
	}
}
