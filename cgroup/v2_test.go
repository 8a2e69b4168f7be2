package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// requireV2 wants root on a unified host whose root offers the controllers, and enables them below the
// root. In the VM of test/vm all that has to be there, so that its lack is a failure and no skip.
func requireV2(t *testing.T, controllers ...string) *Host {
	t.Helper()
	lacks := func(format string, args ...any) {
		t.Helper()
		if os.Getenv(vmVariable) == "1" {
			t.Fatalf("in the VM: "+format, args...)
		}
		t.Skipf(format+" (the VM runs this test)", args...)
	}
	host, err := Detect()
	if err != nil {
		lacks("%v", err)
	}
	if host.Mode != Unified {
		lacks("the host is %s, not unified", host.Mode)
	}
	if os.Getuid() != 0 {
		lacks("making groups needs root")
	}
	offered := fieldsOf(host.Root + "/cgroup.controllers")
	for _, controller := range controllers {
		if !slices.Contains(offered, controller) {
			lacks("no %s controller among %v", controller, offered)
		}
		if err := writeFile(host.Root+"/cgroup.subtree_control", "+"+controller); err != nil {
			lacks("enable %s: %v", controller, err)
		}
	}
	return host
}

func TestV2OOM(t *testing.T) {
	host := requireV2(t, "memory", "pids")
	g := newGroup(t, host)
	log, err := OpenOOMLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	set(t, g.unified+"/memory.max", "33554432")
	set(t, g.unified+"/memory.swap.max", "0")
	effective := g.Effective()
	if effective.MemoryBytes == nil || *effective.MemoryBytes != 32<<20 || effective.MemorySwapBytes == nil || *effective.MemorySwapBytes != 32<<20 {
		t.Errorf("effective %+v", effective)
	}
	checkOOM(t, g, neighbourOf(t, host), log)
	stats := mustStats(t, g)
	if peak := stats.Memory.PeakBytes; peak == nil || *peak < 30<<20 || *peak > 33<<20 {
		t.Errorf("peak %v, limit 32 MiB", peak)
	}
	// Linux 6.5 brought the figure; an older kernel's lack of it is no zero.
	hasFile := unix.Access(g.unified+"/memory.swap.peak", unix.F_OK) == nil
	if swap := stats.Memory.SwapPeakBytes; (swap != nil) != hasFile || (swap != nil && *swap != 0) {
		t.Errorf("peak of swap %v, memory.swap.peak there: %v", swap, hasFile)
	}
	if stats.Pressure.Memory.SomeSeconds == nil || stats.Pressure.CPU.SomeSeconds == nil {
		t.Error("no pressure figures")
	}
}

// TestV2OOMGroup has the kernel kill a whole group and looks for every process of it.
func TestV2OOMGroup(t *testing.T) {
	host := requireV2(t, "memory")
	g := newGroup(t, host)
	log, err := OpenOOMLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	set(t, g.unified+"/memory.max", "67108864")
	set(t, g.unified+"/memory.swap.max", "0")
	set(t, g.unified+"/memory.oom.group", "1")
	sleeper := startRole(t, g, "sleep")
	sleeper.start()
	hog := startRole(t, g, "hog 128")
	hog.start()
	hog.wait(t)
	sleeper.wait(t)
	want := []int{hog.Process.Pid, sleeper.Process.Pid}
	victims, err := log.Victims(g, func(pid int) bool { return slices.Contains(want, pid) })
	var got []int
	for _, v := range victims {
		got = append(got, v.Pid)
	}
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("victims %+v, %v; want the processes %v", victims, err, want)
	}
	if kills := mustStats(t, g).OOM.Kills; kills == nil || *kills < 2 {
		t.Errorf("kills %v, want at least 2", kills)
	}
}

func TestV2CPU(t *testing.T) {
	g := newGroup(t, requireV2(t, "cpu"))
	checkCPU(t, g, func() { set(t, g.unified+"/cpu.max", "20000 100000") })
}

func TestV2ForkBomb(t *testing.T) {
	g := newGroup(t, requireV2(t, "pids"))
	set(t, g.unified+"/pids.max", "60")
	checkForkBomb(t, g)
}

func TestV2KillFrozen(t *testing.T) {
	g := newGroup(t, requireV2(t))
	checkV2Kill(t, g)
}

// checkV2Kill kills a frozen group with a group below.
func checkV2Kill(t *testing.T, g *Group) {
	t.Helper()
	below := openGroup(t, map[string]string{"": g.unified + "/below"})
	if err := os.Mkdir(below.unified, 0o755); err != nil {
		t.Fatal(err)
	}
	inner, outer := startRole(t, below, "sleep"), startRole(t, g, "sleep")
	pids, err := g.Processes()
	if want := []int{min(inner.Process.Pid, outer.Process.Pid), max(inner.Process.Pid, outer.Process.Pid)}; err != nil || !slices.Equal(pids, want) {
		t.Errorf("processes %v, %v; want %v", pids, err, want)
	}
	set(t, g.unified+"/cgroup.freeze", "1")
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*role{inner, outer} {
		if status := r.wait(t); status.Signal() != syscall.SIGKILL {
			t.Errorf("ended with %v", status)
		}
	}
}

func TestV2Effective(t *testing.T) {
	host := requireV2(t, "cpu", "cpuset", "memory", "pids", "io")
	g := newGroup(t, host)
	disk := testDisk(t)
	for file, value := range map[string]string{
		"memory.max": "67108864", "memory.swap.max": "1048576", "cpu.max": "50000 100000", "cpuset.cpus": "0", "pids.max": "9",
		"io.max": disk + " rbps=1048576 wiops=100",
	} {
		set(t, g.unified+"/"+file, value)
	}
	got := fmt.Sprintf("%+v", deref(g.Effective()))
	want := fmt.Sprintf("%+v", []any{int64(64 << 20), int64(65 << 20), 0.5, "0", int64(9), disk, uint64(1 << 20), uint64(100)})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// deref lists the limits that are set; it panics, which fails the test, on those that are nil.
func deref(l EffectiveLimits) []any {
	return []any{*l.MemoryBytes, *l.MemorySwapBytes, *l.CPUs, *l.Cpuset, *l.Pids, l.IOMax[0].Device, *l.IOMax[0].RBps, *l.IOMax[0].WIOps}
}

func TestV2Missing(t *testing.T) {
	host := requireV2(t, "cpu", "cpuset", "memory", "pids", "io")
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 20), Swap: ptr[int64](1 << 21)},
		CPU:    &specs.LinuxCPU{Quota: ptr[int64](1000), Cpus: "0"}, Pids: &specs.LinuxPids{Limit: ptr[int64](1)},
		BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{}}},
	}
	if got := host.Missing(r, "/sandboxrun-test/x", false); got != nil {
		t.Errorf("missing: %v", got)
	}
	// A group with a process in it can't hand controllers on.
	g := newGroup(t, host)
	sleeper := startRole(t, g, "sleep")
	defer func() { _ = sleeper.Process.Kill() }()
	path := strings.TrimPrefix(g.unified, host.Root) + "/x"
	got := limitsByController(host.Missing(r, path, false))
	if len(got["memory"]) != 2 || len(got["io"]) != 1 || len(got["pids"]) != 0 {
		t.Errorf("missing below a group with processes: %v", got)
	}
	if err := writeFile(g.unified+"/cgroup.subtree_control", "+memory"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the kernel doesn't refuse it: %v", err)
	}
}

func TestV2PressureTrigger(t *testing.T) {
	checkTrigger(t, newGroup(t, requireV2(t, "cpu")))
}

// checkTrigger has two processes fight for one CPU and waits for the pressure, then closes and removes.
func checkTrigger(t *testing.T, g *Group) {
	t.Helper()
	trigger, err := g.PressureTrigger(CPU, SomeStalled, 20*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer trigger.Close()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := trigger.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an idle group: %v", err)
	}
	for range 4 {
		startRole(t, g, "spin 400ms").start()
	}
	long, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := trigger.Wait(long); err != nil {
		t.Errorf("four busy processes: %v", err)
	}
	if some := mustStats(t, g).Pressure.CPU.SomeSeconds; some == nil || *some < 0.02 {
		t.Errorf("pressure %v seconds after the trigger fired at 0.02", some)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	other, err := g.PressureTrigger(Memory, FullStalled, time.Second, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	go func() { closed <- other.Wait(context.Background()) }()
	<-time.After(5 * time.Millisecond) // lets Wait reach poll; it has to end either way
	for range 2 {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-closed; !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed while it waits: %v", err)
	}
	if err := other.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed before: %v", err)
	}
	removed, err := g.PressureTrigger(IO, SomeStalled, time.Second, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer removed.Close()
	timer := time.AfterFunc(5*time.Millisecond, func() { _ = g.Remove(context.Background()) })
	defer timer.Stop()
	long, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := removed.Wait(long); !errors.Is(err, ErrRemoved) {
		t.Errorf("removed while it waits: %v", err)
	}
}

// TestHybridPressureTrigger uses the v2 tree of a hybrid host.
func TestHybridPressureTrigger(t *testing.T) {
	host := requireV1(t)
	if host.Mode != Hybrid {
		t.Skip("no v2 tree on this host")
	}
	checkTrigger(t, newGroup(t, host))
}

func TestPressureTriggerErrors(t *testing.T) {
	v1 := openGroup(t, map[string]string{"memory": "/x"})
	if _, err := v1.PressureTrigger(CPU, SomeStalled, time.Second, 2*time.Second); !errors.Is(err, ErrNotSupported) {
		t.Errorf("v1: %v", err)
	}
	v2 := openGroup(t, map[string]string{"": t.TempDir()})
	if _, err := v2.PressureTrigger(CPU, SomeStalled, time.Second, 2*time.Second); !errors.Is(err, ErrNotSupported) {
		t.Errorf("a kernel without PSI: %v", err)
	}
	for name, order := range map[string]func() (*Trigger, error){
		"resource":     func() (*Trigger, error) { return v2.PressureTrigger("../x", SomeStalled, time.Second, 2*time.Second) },
		"level":        func() (*Trigger, error) { return v2.PressureTrigger(CPU, "most", time.Second, 2*time.Second) },
		"short window": func() (*Trigger, error) { return v2.PressureTrigger(CPU, SomeStalled, 1, 499*time.Millisecond) },
		"long window":  func() (*Trigger, error) { return v2.PressureTrigger(CPU, SomeStalled, time.Second, 11*time.Second) },
		"long stall":   func() (*Trigger, error) { return v2.PressureTrigger(CPU, SomeStalled, 3*time.Second, 2*time.Second) },
		"no stall":     func() (*Trigger, error) { return v2.PressureTrigger(CPU, SomeStalled, 0, 2*time.Second) },
	} {
		if _, err := order(); !errors.Is(err, ErrInvalidLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInPrivateNamespace runs TestPrivateV2 in a mount namespace where a cgroup2 tree without controllers
// lies over /sys/fs/cgroup, as on a unified host.
func TestInPrivateNamespace(t *testing.T) {
	requireV1(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPrivateV2$", "-test.v")
	cmd.Env = append(os.Environ(), privateVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestPrivateV2") {
		t.Errorf("%v\n%s", err, out)
	}
}

const privateVariable = "SANDBOXRUN_CGROUP_TEST_PRIVATE"

func TestPrivateV2(t *testing.T) {
	if os.Getenv(privateVariable) == "" {
		t.Skip("run by TestInPrivateNamespace, in a namespace of its own")
	}
	// Go's Unshareflags made / private for this process already; the mount stays in here.
	if err := unix.Mount("none", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	host, err := Detect()
	if err != nil || host.Mode != Unified {
		t.Fatalf("detected %+v, %v", host, err)
	}
	memory := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 20)}}
	missing := host.Missing(memory, "/sandboxrun-test", false)
	if len(missing) != 1 || missing[0].Controller != "memory" || missing[0].Fix != "boot with cgroup_no_v1=memory" {
		t.Errorf("missing %+v", missing)
	}
	t.Run("kill", func(t *testing.T) { checkV2Kill(t, newGroup(t, host)) })
	t.Run("trigger", func(t *testing.T) { checkTrigger(t, newGroup(t, host)) })
	t.Run("figures", func(t *testing.T) {
		g := newGroup(t, host)
		spin := startRole(t, g, "spin 30ms")
		spin.start()
		spin.wait(t)
		if usage, err := g.CPUUsage(); err != nil || usage < 25*time.Millisecond {
			t.Errorf("usage %v, %v; want 30ms", usage, err)
		}
		stats := mustStats(t, g)
		if stats.CPU.UserSeconds == nil || stats.Pressure.CPU.SomeSeconds == nil {
			t.Errorf("figures that need no controller are missing: %+v", stats)
		}
		if stats.CPU.Periods != nil || stats.Memory.PeakBytes != nil || stats.OOM.Kills != nil || stats.Pids.Peak != nil || stats.IO.ReadBytes != nil {
			t.Errorf("figures that need a controller are there: %+v", stats)
		}
		if got := g.Effective(); got.MemoryBytes != nil || got.CPUs != nil || got.Pids != nil || got.Cpuset != nil || got.IOMax != nil {
			t.Errorf("limits without controllers: %+v", got)
		}
	})
}
