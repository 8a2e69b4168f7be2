package runtime

import (
	"fmt"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	runcfeatures "github.com/opencontainers/runc/types/features"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// oldestSpec is the first version of runtime-spec that was not a draft.
const oldestSpec = "1.0.0"

// Features tells what this build can do, in the form of runtime-spec
// (features.md), which wants it so whether or not the host can. Only the
// supported seccomp flags are those of the running kernel. Info tells about the
// host.
func Features() features.Features {
	yes := true
	f := features.Features{
		OCIVersionMin: oldestSpec,
		OCIVersionMax: specs.Version,
		Hooks:         configs.KnownHookNames(),
		MountOptions:  specconv.KnownMountOptions(),
		Linux: &features.Linux{
			Namespaces:   specconv.KnownNamespaces(),
			Capabilities: capabilities.KnownCapabilities(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Apparmor:     &features.Apparmor{Enabled: &yes},
			Selinux:      &features.Selinux{Enabled: &yes},
			IntelRdt:     &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy: &features.MemoryPolicy{
				Modes: specconv.KnownMemoryPolicyModes(),
				Flags: specconv.KnownMemoryPolicyFlags(),
			},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		Annotations: map[string]string{},
		// Beyond what runtime-spec has, these change what a container may do.
		PotentiallyUnsafeConfigAnnotations: []string{"org.systemd.property.", "org.criu.config"},
	}
	// What callers of runc look at, which libcontainer makes true of us.
	if version := libcontainerVersion(); version != "" {
		f.Annotations[runcfeatures.AnnotationRuncVersion] = version
	}
	f.Annotations[runcfeatures.AnnotationRuncCheckpointEnabled] = "true"
	enabled := seccomp.Enabled
	f.Linux.Seccomp = &features.Seccomp{Enabled: &enabled}
	if enabled {
		f.Linux.Seccomp.Actions = seccomp.KnownActions()
		f.Linux.Seccomp.Operators = seccomp.KnownOperators()
		f.Linux.Seccomp.Archs = seccomp.KnownArchs()
		f.Linux.Seccomp.KnownFlags = seccomp.KnownFlags()
		f.Linux.Seccomp.SupportedFlags = seccomp.SupportedFlags()
		f.Annotations[runcfeatures.AnnotationLibseccompVersion] = libseccompVersion()
	}
	return f
}

// libcontainerVersion returns the version of the runc module in this build
// without its "v", "" if it cannot be told.
func libcontainerVersion() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range build.Deps {
		if module.Path == "github.com/opencontainers/runc" && len(module.Version) > 1 {
			return module.Version[1:]
		}
	}
	return ""
}

// libseccompVersion is "" in a build without it.
func libseccompVersion() string {
	if !seccomp.Enabled {
		return ""
	}
	major, minor, micro := seccomp.Version()
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}
