package equivalence_test

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func dropNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) {
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == kind })
}

func dropMount(spec *specs.Spec, destination string) {
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == destination })
}

func joinNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType, path string) {
	dropNamespace(spec, kind)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

// withUserNamespace maps the root of the container to an ordinary range.
func withUserNamespace(spec *specs.Spec) {
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

// member starts a process in a new namespace, whose path is then in $JOIN, puts
// that into config.json and runs the bundle.
func member(flag, name string) string {
	return `$BUSYBOX unshare ` + flag + ` sh -c 'read pid rest </proc/self/stat; echo $pid >pid; exec sleep 60' & until_true test -s pid
JOIN=/proc/$(cat pid)/ns/` + name + `
sed -i "s|@JOIN@|$JOIN|" bundle/config.json
` + runBundle + `
kill -KILL $(cat pid); wait`
}

func namespaceCases() group {
	without := func(kind specs.LinuxNamespaceType) func(*specs.Spec, *trial) {
		return change(func(s *specs.Spec) { dropNamespace(s, kind) })
	}
	// A runtime that did not refuse would mount where it stands.
	const apart = `code unshare -m "$RUNTIME" --root "$STATE" run -b bundle "$ID"`
	inspect := []string{"sh", "-c", "for n in /proc/self/ns/*; do readlink $n; done; hostname; cat /proc/self/status /proc/self/uid_map"}
	return group{"namespaces", "namespaces, joined, kept from the host or new, and id mappings", []testCase{
		{name: "host network", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.NetworkNamespace)
			spec.Process.Args = inspect
		}},
		{name: "host pid", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.PIDNamespace)
			spec.Process.Args = inspect
		}, normalise: hostPids()},
		{name: "host ipc", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.IPCNamespace)
			spec.Process.Args = inspect
		}},
		{name: "host uts", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.UTSNamespace)
			spec.Hostname, spec.Process.Args = "", inspect
		}},
		{name: "host cgroup", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.CgroupNamespace)
			dropMount(spec, "/sys/fs/cgroup")
		}},
		{name: "host uts with hostname", edit: without(specs.UTSNamespace)},
		{name: "host uts with domainname", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.UTSNamespace)
			spec.Hostname, spec.Domainname = "", "example.org"
		}},
		{name: "no mount namespace", edit: without(specs.MountNamespace), script: apart},
		{name: "none at all", edit: change(func(s *specs.Spec) { s.Linux.Namespaces = nil }), script: apart},
		{name: "hostname", edit: change(func(s *specs.Spec) { s.Hostname = "other.example" })},
		{name: "hostname empty", edit: func(spec *specs.Spec, _ *trial) {
			spec.Hostname, spec.Process.Args = "", []string{"sh", "-c", "hostname | wc -l"}
		}},
		{name: "hostname too long", edit: change(func(s *specs.Spec) {
			s.Hostname = "a123456789a123456789a123456789a123456789a123456789a123456789a123456789"
		})},
		{name: "domainname", edit: change(func(s *specs.Spec) { s.Domainname = "example.org" })},
		{name: "twice the same", edit: change(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace})
		})},
		{name: "type unknown", edit: change(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "disk"})
		})},
		{name: "path missing", edit: change(func(s *specs.Spec) { joinNamespace(s, specs.NetworkNamespace, "/no/such/ns") })},
		{name: "path relative", edit: change(func(s *specs.Spec) { joinNamespace(s, specs.NetworkNamespace, "no/such/ns") })},
		{name: "path of another type", edit: change(func(s *specs.Spec) { joinNamespace(s, specs.NetworkNamespace, "/proc/self/ns/uts") })},
		{name: "path is a file", edit: change(func(s *specs.Spec) { joinNamespace(s, specs.NetworkNamespace, "/etc/hostname") })},
		{name: "join network", edit: func(spec *specs.Spec, _ *trial) { joinNamespace(spec, specs.NetworkNamespace, "@JOIN@") }, script: member("-n", "net")},
		{name: "join ipc", edit: func(spec *specs.Spec, _ *trial) { joinNamespace(spec, specs.IPCNamespace, "@JOIN@") }, script: member("-i", "ipc")},
		{name: "join uts", edit: func(spec *specs.Spec, _ *trial) {
			joinNamespace(spec, specs.UTSNamespace, "@JOIN@")
			spec.Hostname = ""
		}, script: member("-u", "uts")},
		{name: "join the host's network by path", edit: func(spec *specs.Spec, _ *trial) {
			joinNamespace(spec, specs.NetworkNamespace, "/proc/1/ns/net")
			spec.Process.Args = inspect
		}},
		{name: "join pid", edit: func(spec *specs.Spec, _ *trial) {
			joinNamespace(spec, specs.PIDNamespace, "@JOIN@")
			spec.Process.Args = []string{"sh", "-c", "cat /proc/1/comm; readlink /proc/self/ns/pid; echo $$; exit 6"}
		}, script: member("-p -f", "pid")},
		{name: "user", edit: change(withUserNamespace)},
		{name: "user as ordinary user", edit: func(spec *specs.Spec, _ *trial) {
			withUserNamespace(spec)
			spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{50}}
		}},
		{name: "user with several ranges", edit: func(spec *specs.Spec, _ *trial) {
			withUserNamespace(spec)
			spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 1000, HostID: 300000, Size: 5}}
		}},
		{name: "user without mappings", edit: func(spec *specs.Spec, _ *trial) {
			withUserNamespace(spec)
			spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil
		}},
		{name: "user that is not mapped", edit: func(spec *specs.Spec, _ *trial) {
			withUserNamespace(spec)
			spec.Process.User.UID = 70000
		}},
		{name: "mappings without user namespace", edit: change(func(s *specs.Spec) {
			s.Process.Args = []string{"true"}
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}}
		})},
		{name: "time", edit: change(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 100, Nanosecs: 5}, "boottime": {Secs: 86400}}
		})},
		{name: "time without offsets", edit: change(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		})},
		{name: "time offsets without namespace", edit: change(func(s *specs.Spec) {
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 100}}
		})},
		{name: "time offset of an unknown clock", edit: change(func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"wall": {Secs: 100}}
		})},
	}}
}

func mountCases() group {
	mount := func(mounts ...specs.Mount) func(*specs.Spec, *trial) {
		return change(func(s *specs.Spec) { s.Mounts = append(s.Mounts, mounts...) })
	}
	tmpfs := func(options ...string) func(*specs.Spec, *trial) {
		return mount(specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	// bind shows a directory of the script, which holds a file and a directory.
	bind := func(options ...string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: tr.dir + "/shown", Options: options})
		}
	}
	const shown = "mkdir -p shown/below; echo shown >shown/file; chmod 755 shown; "
	// The tree below the source is a mount of its own, made in a mount namespace
	// that ends with the script's last line.
	nested := func(command string) string {
		return shown + `unshare -m sh -c 'mount -t tmpfs below shown/below && "$RUNTIME" --root "$STATE" ` + command + `; echo "exit $?"'`
	}
	const runNested = `run -b bundle "$ID"`
	rootPropagation := func(mode string) func(*specs.Spec, *trial) {
		return change(func(s *specs.Spec) { s.Linux.RootfsPropagation = mode })
	}
	idmapped := func(options ...string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			bind(options...)(spec, tr)
			m := &spec.Mounts[len(spec.Mounts)-1]
			m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 100}}
			m.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 6000, Size: 100}}
			spec.Process.Args = []string{"sh", "-c", "stat -c '%n %u:%g' /mnt /mnt/*; grep /mnt /proc/self/mountinfo"}
		}
	}
	return group{"mounts", "mounts, their options, the root filesystem, masked and read-only paths", []testCase{
		{name: "root writable", edit: change(func(s *specs.Spec) { s.Root.Readonly = false })},
		{name: "root propagation private", edit: rootPropagation("private")},
		{name: "root propagation slave", edit: rootPropagation("slave")},
		{name: "root propagation shared", edit: rootPropagation("shared")},
		{name: "root propagation unbindable", edit: rootPropagation("unbindable")},
		{name: "root propagation rslave", edit: rootPropagation("rslave")},
		{name: "root propagation unknown", edit: rootPropagation("sideways")},
		{name: "tmpfs", edit: tmpfs()},
		{name: "tmpfs with size and mode", edit: tmpfs("size=64k", "mode=0700", "nr_inodes=10")},
		{name: "tmpfs with owner", edit: tmpfs("uid=1000", "gid=50", "mode=1777")},
		{name: "tmpfs read-only", edit: tmpfs("ro")},
		{name: "tmpfs nosuid nodev noexec", edit: tmpfs("nosuid", "nodev", "noexec")},
		{name: "tmpfs with times", edit: tmpfs("noatime", "nodiratime")},
		{name: "tmpfs relatime", edit: tmpfs("relatime")},
		{name: "tmpfs strictatime", edit: tmpfs("strictatime")},
		{name: "tmpfs sync", edit: tmpfs("sync", "dirsync")},
		{name: "tmpfs nosymfollow", edit: tmpfs("nosymfollow")},
		{name: "tmpfs opposite options", edit: tmpfs("ro", "rw", "noexec", "exec", "defaults")},
		{name: "tmpfs private", edit: tmpfs("rprivate")},
		{name: "tmpfs shared", edit: tmpfs("shared")},
		{name: "tmpfs slave", edit: tmpfs("slave")},
		{name: "tmpfs unbindable", edit: tmpfs("unbindable")},
		{name: "tmpfs with a copy", edit: mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})},
		{name: "tmpfs with a copy read-only", edit: mount(specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "ro"}})},
		{name: "tmpfs with an unknown option", edit: tmpfs("no-such-option")},
		{name: "one over another", edit: mount(
			specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "first"},
			specs.Mount{Destination: "/mnt/deep/er", Type: "tmpfs", Source: "second"},
			specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "third"})},
		{name: "bind", edit: bind("bind"), script: shown + runBundle},
		{name: "bind read-only", edit: bind("bind", "ro"), script: shown + runBundle},
		{name: "bind without type", edit: func(spec *specs.Spec, tr *trial) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/mnt", Source: tr.dir + "/shown", Options: []string{"rbind", "ro"}})
		}, script: shown + runBundle},
		{name: "bind nosuid nodev noexec", edit: bind("bind", "nosuid", "nodev", "noexec"), script: shown + runBundle},
		{name: "bind rprivate", edit: bind("rbind", "rprivate"), script: shown + runBundle},
		{name: "bind rslave", edit: bind("rbind", "rslave"), script: shown + runBundle},
		{name: "bind rshared", edit: bind("rbind", "rshared"), script: shown + runBundle},
		{name: "bind noatime", edit: bind("bind", "noatime"), script: shown + runBundle},
		{name: "bind of a relative source", edit: mount(specs.Mount{Destination: "/mnt", Type: "bind", Source: "../shown", Options: []string{"bind"}}), script: shown + runBundle},
		{name: "bind of a file", edit: func(spec *specs.Spec, tr *trial) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/etc/passwd", Type: "bind", Source: tr.dir + "/shown/file", Options: []string{"bind", "ro"}})
		}, script: shown + runBundle},
		{name: "bind of a file to a new place", edit: func(spec *specs.Spec, tr *trial) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/new/place", Type: "bind", Source: tr.dir + "/shown/file", Options: []string{"bind"}})
		}, script: shown + runBundle + "; stat -c '%n %F %a' bundle/rootfs/new bundle/rootfs/new/place"},
		{name: "bind of a file over a directory", edit: func(spec *specs.Spec, tr *trial) {
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: tr.dir + "/shown/file", Options: []string{"bind"}})
		}, script: shown + runBundle},
		{name: "bind of what is missing", edit: bind("bind"), script: runBundle},
		{name: "bind with all below", edit: bind("rbind"), script: nested(runNested)},
		{name: "bind without what is below", edit: bind("bind"), script: nested(runNested)},
		{name: "bind with all below, ro", edit: bind("rbind", "ro"), script: nested(runNested)},
		{name: "bind with all below, rro", edit: bind("rbind", "rro"), script: nested(runNested)},
		{name: "bind with all below, rnosuid rnodev rnoexec", edit: bind("rbind", "rnosuid", "rnodev", "rnoexec"), script: nested(runNested)},
		{name: "bind with all below, rnoatime", edit: bind("rbind", "rnoatime"), script: nested(runNested)},
		{name: "idmap", edit: idmapped("bind", "idmap"), script: shown + runBundle},
		{name: "ridmap", edit: idmapped("rbind", "ridmap"), script: nested(runNested)},
		{name: "idmap without mappings", edit: bind("bind", "idmap"), script: shown + runBundle},
		{name: "idmap in a user namespace", edit: func(spec *specs.Spec, tr *trial) {
			withUserNamespace(spec)
			idmapped("bind", "idmap")(spec, tr)
			m := &spec.Mounts[len(spec.Mounts)-1]
			m.UIDMappings, m.GIDMappings = spec.Linux.UIDMappings, spec.Linux.GIDMappings
		}, script: shown + runBundle},
		{name: "destination relative", edit: mount(specs.Mount{Destination: "mnt", Type: "tmpfs", Source: "tmpfs"})},
		{name: "destination by a link", edit: mount(specs.Mount{Destination: "/link/sub", Type: "tmpfs", Source: "tmpfs"}),
			script: "ln -s /data bundle/rootfs/link; " + runBundle},
		{name: "destination out by a link", edit: mount(specs.Mount{Destination: "/link/sub", Type: "tmpfs", Source: "tmpfs"}),
			script: "mkdir outside; ln -s ../../../../../../..$DIR/outside bundle/rootfs/link; " + runBundle + "; ls outside"},
		{name: "destination with dots", edit: mount(specs.Mount{Destination: "/../../mnt/./x/../", Type: "tmpfs", Source: "tmpfs"})},
		{name: "destination in proc", edit: mount(specs.Mount{Destination: "/proc/sys/net", Type: "tmpfs", Source: "tmpfs"})},
		{name: "destination is proc's own", edit: mount(specs.Mount{Destination: "/proc", Type: "tmpfs", Source: "tmpfs"})},
		{name: "type unknown", edit: mount(specs.Mount{Destination: "/mnt", Type: "nosuchfs", Source: "x"})},
		{name: "ramfs", edit: mount(specs.Mount{Destination: "/mnt", Type: "ramfs", Source: "r"})},
		{name: "mqueue options", edit: change(func(s *specs.Spec) {
			dropMount(s, "/dev/mqueue")
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"ro"}})
		})},
		{name: "proc with hidepid", edit: change(func(s *specs.Spec) { s.Mounts[0].Options = []string{"hidepid=2", "nosuid"} })},
		{name: "sys writable", edit: change(func(s *specs.Spec) {
			dropMount(s, "/sys/fs/cgroup")
			dropMount(s, "/sys")
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"})
		})},
		{name: "cgroup writable", edit: change(func(s *specs.Spec) {
			s.Mounts[len(s.Mounts)-1].Options = []string{"nosuid", "noexec", "nodev"}
		})},
		{name: "no mounts but proc", edit: change(func(s *specs.Spec) { s.Mounts = s.Mounts[:1] })},
		{name: "dev bound from the host", edit: change(func(s *specs.Spec) {
			s.Mounts = []specs.Mount{s.Mounts[0], {Destination: "/dev", Type: "bind", Source: "/dev", Options: []string{"rbind", "ro"}}}
			s.Process.Args = []string{"sh", "-c", "ls /dev/null /dev/zero; grep ' /dev ' /proc/self/mountinfo | wc -l; workload fds"}
		})},
		{name: "masked and read-only paths", edit: change(func(s *specs.Spec) {
			s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/data/file", "/data/sub", "/no/such/path")
			s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/dev/shm", "/no/such/path")
		})},
		{name: "no masked and read-only paths", edit: change(func(s *specs.Spec) { s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil })},
		{name: "masked path relative", edit: change(func(s *specs.Spec) {
			s.Linux.MaskedPaths, s.Process.Args = []string{"data/file"}, []string{"cat", "/data/file"}
		})},
		{name: "no pivot", edit: nil, script: `code rt run --no-pivot -b bundle "$ID"`},
	}}
}
