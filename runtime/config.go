package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"
)

// cgroupPrefix marks the cgroups of containers whose spec names none.
const cgroupPrefix = "sandboxrun-"

// containerConfig turns the spec into libcontainer's configuration. The spec
// itself is left as it is.
func (r *Runtime) containerConfig(opts *CreateOptions) (*configs.Config, error) {
	spec := withAbsolutePaths(opts.Spec, opts.Bundle)
	if r.cfg.SystemdCgroup {
		var err error
		if spec, err = systemdSpec(spec, opts.ID); err != nil {
			return nil, err
		}
	}
	if cgroups.IsCgroup2UnifiedMode() && !hasNamespace(spec, specs.CgroupNamespace) {
		bindCgroups(spec.Mounts)
	}
	if !hasNamespace(spec, specs.UserNamespace) && spec.Linux != nil && len(spec.Linux.UIDMappings)+len(spec.Linux.GIDMappings) > 0 {
		r.log.Warn("the spec has no user namespace; ignoring linux.uidMappings and linux.gidMappings")
	}
	if r.cfg.NoCgroups {
		spec = r.withoutCgroup(spec)
	}
	spec, keepSeccomp := r.profiles.take(spec, opts)
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       cgroupPrefix + opts.ID,
		UseSystemdCgroup: r.cfg.SystemdCgroup,
		NoPivotRoot:      opts.NoPivot,
		NoNewKeyring:     opts.NoNewKeyring,
		Spec:             spec,
		RootlessEUID:     os.Geteuid() != 0,
		RootlessCgroups:  r.RootlessCgroups() || r.cfg.NoCgroups,
	})
	if err != nil {
		return nil, fmt.Errorf("read spec of %q: %w", opts.Bundle, err)
	}
	dropX32(config.Seccomp)
	orderRules(config.Seccomp)
	if r.cfg.NoCgroups {
		if err := disableCgroup(config); err != nil {
			return nil, fmt.Errorf("cannot create container %q: %w", opts.ID, err)
		}
	}
	keepSeccomp(config)
	setBundleLabel(config, opts.Bundle)
	hooks := opts.hooks
	if hooks == nil {
		hooks = context.Background()
	}
	adaptHooks(hooks, config.Hooks)
	r.adaptDevices(config.Devices)
	r.adaptMounts(config)
	if opts.restore != nil {
		adaptRestored(config)
	}
	return config, nil
}

// withAbsolutePaths returns a copy of spec in which what runtime-spec takes
// relative to the bundle (config.md, "Root" and "Mounts") is absolute.
// specconv would take it relative to the working directory, which runc changes
// to the bundle and a library must not.
func withAbsolutePaths(spec *specs.Spec, bundle string) *specs.Spec {
	resolved := *spec
	root := *spec.Root
	root.Path = absolute(bundle, root.Path)
	resolved.Root = &root
	resolved.Mounts = slices.Clone(spec.Mounts)
	for i := range resolved.Mounts {
		if m := &resolved.Mounts[i]; isBind(m) {
			m.Source = absolute(bundle, m.Source)
		}
	}
	return &resolved
}

// adaptDevices: a fifo has no device number, and libcontainer would miss the
// one of the spec at what it made.
func (*Runtime) adaptDevices(list []*devices.Device) {
	for _, device := range list {
		if device.Type == devices.FifoDevice {
			device.Major, device.Minor = 0, 0
		}
	}
}

// bindCgroups turns mounts of cgroup2 into binds of the host's. A mount made in
// the host's own cgroup namespace would set the options of the one superblock
// that there is, and take nsdelegate and memory_recursiveprot from the host
// (cgroup_namespaces(7); runc issue 5258). mounts is changed.
func bindCgroups(mounts []specs.Mount) {
	for i := range mounts {
		m := &mounts[i]
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			m.Type, m.Source = "bind", "/sys/fs/cgroup"
			m.Options = append(slices.Clone(m.Options), "rbind")
		}
	}
}

// adaptMounts drops, with a warning, what the kernel ignores or does not have,
// and libcontainer would fail at.
func (r *Runtime) adaptMounts(config *configs.Config) {
	for _, mount := range config.Mounts {
		if mount.IsBind() && mount.Data != "" {
			r.log.Warn("a bind mount cannot have options of a file system; ignoring them", "destination", mount.Destination, "options", mount.Data)
			mount.Data = ""
		}
	}
	if config.MountLabel != "" && !selinux.GetEnabled() {
		r.log.Warn("SELinux is not enabled on this host; ignoring linux.mountLabel", "label", config.MountLabel)
		config.MountLabel = ""
	}
}

// hasNamespace reports whether the container gets a namespace other than the
// host's.
func hasNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// setBundleLabel corrects the label that specconv took from the working
// directory. Hooks, state and annotations read the bundle from it.
func setBundleLabel(config *configs.Config, bundle string) {
	config.Labels = slices.DeleteFunc(config.Labels, func(label string) bool {
		return strings.HasPrefix(label, bundleLabel)
	})
	config.Labels = append(config.Labels, bundleLabel+bundle)
}

const bundleLabel = "bundle="

// newProcess converts the process of a spec.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	process := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		Label:           p.SelinuxLabel,
		NoNewPrivileges: &p.NoNewPrivileges,
		AppArmorProfile: p.ApparmorProfile,
		Scheduler:       p.Scheduler,
		IOPriority:      p.IOPriority,
	}
	if p.ConsoleSize != nil {
		process.ConsoleWidth = uint16(p.ConsoleSize.Width)
		process.ConsoleHeight = uint16(p.ConsoleSize.Height)
	}
	if c := p.Capabilities; c != nil {
		process.Capabilities = &configs.Capabilities{
			Bounding:    c.Bounding,
			Effective:   c.Effective,
			Inheritable: c.Inheritable,
			Permitted:   c.Permitted,
			Ambient:     c.Ambient,
		}
	}
	for _, gid := range p.User.AdditionalGids {
		process.AdditionalGroups = append(process.AdditionalGroups, int(gid))
	}
	for i, limit := range p.Rlimits {
		resource, ok := rlimits[limit.Type]
		if !ok {
			return nil, fmt.Errorf("config.json: process.rlimits[%d].type: unknown resource %q", i, limit.Type)
		}
		process.Rlimits = append(process.Rlimits, configs.Rlimit{Type: resource, Hard: limit.Hard, Soft: limit.Soft})
	}
	affinity, err := configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	if err != nil {
		return nil, fmt.Errorf("config.json: process.execCPUAffinity: %w", err)
	}
	process.CPUAffinity = affinity
	return process, nil
}

// rlimits are the names of getrlimit(2) and their numbers.
var rlimits = map[string]int{
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
}

// checkSpec refuses what would make this package itself misbehave. What the
// specification demands is checked by package bundles before.
func checkSpec(opts *CreateOptions) error {
	switch {
	case !filepath.IsAbs(opts.Bundle):
		return fmt.Errorf("cannot create a container from bundle %q: the path must be absolute", opts.Bundle)
	case opts.Spec == nil || opts.Spec.Root == nil:
		return errors.New("config.json: root: is missing")
	case opts.Spec.Process == nil:
		return errors.New("config.json: process: is missing")
	case len(opts.Spec.Process.Args) == 0:
		return errors.New("config.json: process.args: is empty")
	}
	return nil
}
