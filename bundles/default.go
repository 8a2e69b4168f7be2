package bundles

import (
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Option changes one aspect of a spec that Default makes.
type Option func(*specs.Spec)

// Default returns what `sandboxrun spec` writes: the configuration of `runc spec`
// (1.5) for a root filesystem in "rootfs", which runs sh at a terminal with all
// namespaces but user and time, three capabilities and noNewPrivileges. It differs
// in three points: it always has a cgroup namespace where the kernel knows them
// (runc: only on cgroup v2), the hostname is "sandboxrun", and it has moby's
// default seccomp profile for the capabilities, the architecture and the kernel
// version at hand.
//
// Options are applied in order, before the seccomp profile is computed. The error
// says that the kernel's version can't be read.
func Default(options ...Option) (*specs.Spec, error) {
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Terminal: true,
			Args:     []string{"sh"},
			Env: []string{
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"TERM=xterm",
			},
			Cwd:             "/",
			NoNewPrivileges: true,
			Capabilities:    defaultCapabilities(),
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Hostname: "sandboxrun",
		Mounts:   defaultMounts(),
		Linux: &specs.Linux{
			MaskedPaths: []string{
				"/proc/acpi",
				"/proc/asound",
				"/proc/kcore",
				"/proc/keys",
				"/proc/latency_stats",
				"/proc/timer_list",
				"/proc/timer_stats",
				"/proc/sched_debug",
				"/sys/firmware",
				"/proc/scsi",
			},
			ReadonlyPaths: []string{
				"/proc/bus",
				"/proc/fs",
				"/proc/irq",
				"/proc/sys",
				"/proc/sysrq-trigger",
			},
			Resources:  &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: defaultNamespaces(),
		},
	}
	for _, option := range options {
		option(spec)
	}
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("compute default seccomp profile: %w", err)
	}
	spec.Linux.Seccomp = profile
	return spec, nil
}

func defaultCapabilities() *specs.LinuxCapabilities {
	names := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	return &specs.LinuxCapabilities{
		Bounding:  slices.Clone(names),
		Effective: slices.Clone(names),
		Permitted: slices.Clone(names),
	}
}

func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{
			Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"},
		},
		{
			Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		},
		{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"},
		},
		{
			Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"},
		},
		{
			Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"},
		},
		{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
		},
	}
}

func defaultNamespaces() []specs.LinuxNamespace {
	namespaces := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.NetworkNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.MountNamespace},
	}
	// Linux 4.6. Without it /sys/fs/cgroup and /proc/self/cgroup show the
	// sandbox the host's tree, on cgroup v1 as well as v2.
	if _, err := os.Stat("/proc/self/ns/cgroup"); err == nil {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return namespaces
}

// Rootless changes spec so that a user without privileges can run it, as `runc
// spec --rootless` does: a user namespace in which the effective user and group
// of this process are root, the host's network, the host's /sys bound read-only
// (a sysfs can only be mounted by the owner of the network namespace), no uid= and
// gid= mount options (only one of each may be mapped) and no cgroup settings.
//
// Beyond `runc spec`, it maps the subordinate IDs of a user who has some and the
// tools to map them, newuidmap and newgidmap: with them the container has other
// users than root.
func Rootless(spec *specs.Spec) {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	rootless(spec, uid, gid)
	if uid != 0 {
		mapSubordinateIDs(spec, uid)
	}
}

func rootless(spec *specs.Spec, uid, gid uint32) {
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.NetworkNamespace || ns.Type == specs.UserNamespace
	})
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uid, Size: 1}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: gid, Size: 1}}
	spec.Linux.Resources = nil
	for i := range spec.Mounts {
		mount := &spec.Mounts[i]
		if path.Clean(mount.Destination) == "/sys" {
			*mount = specs.Mount{
				Destination: "/sys", Type: "none", Source: "/sys",
				Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"},
			}
			continue
		}
		mount.Options = slices.DeleteFunc(mount.Options, func(option string) bool {
			return strings.HasPrefix(option, "gid=") || strings.HasPrefix(option, "uid=")
		})
	}
}

// WithArgs sets the program and its arguments.
func WithArgs(args ...string) Option {
	return func(spec *specs.Spec) { spec.Process.Args = slices.Clone(args) }
}

// WithEnv sets variables, each NAME=VALUE; one of the same name is replaced.
func WithEnv(variables ...string) Option {
	return func(spec *specs.Spec) {
		for _, variable := range variables {
			name, _, _ := strings.Cut(variable, "=")
			spec.Process.Env = slices.DeleteFunc(spec.Process.Env, func(existing string) bool {
				return strings.HasPrefix(existing, name+"=")
			})
			spec.Process.Env = append(spec.Process.Env, variable)
		}
	}
}

// WithTerminal says whether the program gets a terminal of its own.
func WithTerminal(terminal bool) Option {
	return func(spec *specs.Spec) { spec.Process.Terminal = terminal }
}

// WithHostname sets the hostname.
func WithHostname(name string) Option {
	return func(spec *specs.Spec) { spec.Hostname = name }
}

// WithMounts adds mounts after those that are there.
func WithMounts(mounts ...specs.Mount) Option {
	return func(spec *specs.Spec) { spec.Mounts = append(spec.Mounts, mounts...) }
}

// WithMemory limits memory, without swap, to a number of bytes.
func WithMemory(bytes int64) Option {
	return func(spec *specs.Spec) {
		resources(spec).Memory = &specs.LinuxMemory{Limit: &bytes}
	}
}

// cpuPeriod is the kernel's default period of CPU quotas in microseconds
// (Documentation/scheduler/sched-bwc.rst).
const cpuPeriod = 100_000

// WithCPUs limits CPU time to cpus CPUs' worth (0.5 is half of one), as a quota of
// microseconds in each period of 100 ms.
func WithCPUs(cpus float64) Option {
	return func(spec *specs.Spec) {
		quota, period := int64(math.Round(cpus*cpuPeriod)), uint64(cpuPeriod)
		resources(spec).CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
}

// WithPids limits the number of processes and threads.
func WithPids(limit int64) Option {
	return func(spec *specs.Spec) {
		resources(spec).Pids = &specs.LinuxPids{Limit: &limit}
	}
}

func resources(spec *specs.Spec) *specs.LinuxResources {
	if spec.Linux.Resources == nil {
		spec.Linux.Resources = &specs.LinuxResources{}
	}
	return spec.Linux.Resources
}
