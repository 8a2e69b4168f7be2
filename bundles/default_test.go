package bundles

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/internal/golden"
)

func TestDefaultGolden(t *testing.T) {
	rootlessSpec := mustDefault(t)
	rootless(rootlessSpec, 1000, 1001)
	for name, spec := range map[string]*specs.Spec{"default": mustDefault(t), "rootless": rootlessSpec} {
		t.Run(name, func(t *testing.T) {
			if err := Validate(spec); err != nil {
				t.Errorf("not valid: %v", err)
			}
			compareGolden(t, name, spec)
		})
	}
}

// compareGolden compares with testdata/NAME_GOARCH.json: the seccomp profile
// depends on the architecture.
func compareGolden(t *testing.T, name string, spec *specs.Spec) {
	t.Helper()
	got, err := Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Join("testdata", name+"_"+runtime.GOARCH+".json"), got)
}

func TestDefaultIsFresh(t *testing.T) {
	changed := mustDefault(t)
	changed.Process.Capabilities.Bounding[0] = "CAP_SYS_ADMIN"
	changed.Mounts[1].Options[0] = "suid"
	changed.Linux.Seccomp.Syscalls[0].Names[0] = "changed"
	changed.Linux.MaskedPaths[0] = "/changed"
	if !slices.Contains(mustDefault(t).Linux.MaskedPaths, "/proc/acpi") || reflect.DeepEqual(changed, mustDefault(t)) {
		t.Error("two default specs share memory")
	}
	if got := mustDefault(t).Process.Capabilities; got.Effective[0] != "CAP_AUDIT_WRITE" || got.Bounding[0] != "CAP_AUDIT_WRITE" {
		t.Errorf("capabilities changed: %+v", got)
	}
}

// TestDefaultSeccompFollowsCapabilities: the profile allows mount(2) to those who
// have the capability for it.
func TestDefaultSeccompFollowsCapabilities(t *testing.T) {
	allowsMount := func(spec *specs.Spec) bool {
		return slices.ContainsFunc(spec.Linux.Seccomp.Syscalls, func(call specs.LinuxSyscall) bool {
			return call.Action == specs.ActAllow && slices.Contains(call.Names, "mount")
		})
	}
	if allowsMount(mustDefault(t)) {
		t.Error("the default allows mount(2)")
	}
	admin := mustDefault(t, func(spec *specs.Spec) {
		spec.Process.Capabilities.Bounding = append(spec.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
	})
	if !allowsMount(admin) {
		t.Error("CAP_SYS_ADMIN doesn't allow mount(2)")
	}
}

func TestOptions(t *testing.T) {
	mount := specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs"}
	got := mustDefault(t,
		WithArgs("a", "b"), WithEnv("TERM=dumb", "X=1"), WithTerminal(false), WithHostname("h"),
		WithMounts(mount), WithMemory(64<<20), WithCPUs(0.5), WithPids(7),
	)
	want := mustDefault(t)
	want.Process.Args = []string{"a", "b"}
	want.Process.Env = []string{want.Process.Env[0], "TERM=dumb", "X=1"}
	want.Process.Terminal = false
	want.Hostname = "h"
	want.Mounts = append(want.Mounts, mount)
	memory, quota, period, pids := int64(67108864), int64(50000), uint64(100000), int64(7)
	want.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	want.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	want.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:  %s\nwant: %s", toJSON(t, got), toJSON(t, want))
	}
	if err := Validate(got); err != nil {
		t.Error(err)
	}
}

func TestRootlessMapsThisUser(t *testing.T) {
	spec := mustDefault(t)
	Rootless(spec)
	want := []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
	if !reflect.DeepEqual(spec.Linux.UIDMappings[:1], want) {
		t.Errorf("got %+v, want %+v", spec.Linux.UIDMappings, want)
	}
}
