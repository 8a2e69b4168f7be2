package bundles

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestValidate changes one part of the default spec and wants exactly these lines,
// each without "config.json: ". patch is a JSON merge patch (RFC 7396).
func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 65)
	tests := []struct {
		name  string
		patch string
		want  []string
	}{
		{"default", `{}`, nil},
		{"version 1.0", `{"ociVersion": "1.0.0"}`, nil},
		{"version rc", `{"ociVersion": "1.0.0-rc5"}`, nil},
		{"version dev", `{"ociVersion": "1.0.2-dev"}`, nil},
		{"version dev build", `{"ociVersion": "1.2.0+dev"}`, nil},
		{"version newer minor", `{"ociVersion": "1.99.0-rc.1.x-y+b.01"}`, nil},
		{"version missing", `{"ociVersion": ""}`, []string{`ociVersion: is missing; set it to "1.3.0"`}},
		{"version text", `{"ociVersion": "abc"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "abc"`}},
		{"version short", `{"ociVersion": "1.0"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.0"`}},
		{"version long", `{"ociVersion": "1.0.0.0"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.0.0.0"`}},
		{"version leading zero", `{"ociVersion": "1.01.0"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.01.0"`}},
		{"version v", `{"ociVersion": "v1.0.0"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "v1.0.0"`}},
		{"version empty rc", `{"ociVersion": "1.0.0-"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.0.0-"`}},
		{"version rc zero", `{"ociVersion": "1.0.0-rc.01"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.0.0-rc.01"`}},
		{"version empty build", `{"ociVersion": "1.0.0+"}`, []string{`ociVersion: must be a semantic version such as "1.3.0", not "1.0.0+"`}},
		{"version 2", `{"ociVersion": "2.0.0"}`, []string{`ociVersion: must be 1.x.y, not "2.0.0"; this runtime implements 1.3.0`}},
		{"version 0", `{"ociVersion": "0.6.0"}`, []string{`ociVersion: must be 1.x.y, not "0.6.0"; this runtime implements 1.3.0`}},
		{"version 10", `{"ociVersion": "10.0.0"}`, []string{`ociVersion: must be 1.x.y, not "10.0.0"; this runtime implements 1.3.0`}},

		{"no root", `{"root": null}`, []string{"root: is missing; set root.path to the directory of the root filesystem"}},
		{"no root path", `{"root": {"path": ""}}`, []string{"root.path: is missing or empty; set it to the directory of the root filesystem"}},
		{"null byte in root", `{"root": {"path": "a\u0000b"}}`, []string{`root.path: must not contain a null byte: "a\x00b"`}},

		{"no process", `{"process": null}`, []string{"process: is missing; set process.args and process.cwd"}},
		{"no args", `{"process": {"args": null}}`, []string{"process.args: is missing or empty; set it to the program and its arguments"}},
		{"empty args", `{"process": {"args": []}}`, []string{"process.args: is missing or empty; set it to the program and its arguments"}},
		{"empty program", `{"process": {"args": ["", "x"]}}`, []string{"process.args[0]: must name a program, not be empty"}},
		{"null byte in args", `{"process": {"args": ["a", "\u0000"]}}`, []string{`process.args[1]: must not contain a null byte: "\x00"`}},
		{"cwd missing", `{"process": {"cwd": ""}}`, []string{"process.cwd: is missing or empty; set it to an absolute path"}},
		{"cwd relative", `{"process": {"cwd": "tmp"}}`, []string{`process.cwd: must be an absolute path, not "tmp"`}},
		{"env", `{"process": {"env": ["A=1", "B", "=x", "C=", "S=se\u0000cret"]}}`, []string{
			`process.env[1]: must be NAME=VALUE, not "B"`,
			`process.env[2]: must be NAME=VALUE, but the name is empty`,
			`process.env[4]: must not contain a null byte (variable "S")`,
		}},
		{"console size", `{"process": {"terminal": true, "consoleSize": {"height": 65536, "width": 100000}}}`, []string{
			"process.consoleSize.height: must be at most 65535, not 65536",
			"process.consoleSize.width: must be at most 65535, not 100000",
		}},
		{"console size unused", `{"process": {"terminal": false, "consoleSize": {"height": 65536}}}`, nil},
		{"user", `{"process": {"user": {"uid": 4294967295, "gid": 4294967295, "umask": 512, "additionalGids": [1, 4294967295]}}}`, []string{
			"process.user.uid: must be at most 4294967294",
			"process.user.gid: must be at most 4294967294",
			"process.user.additionalGids[1]: must be at most 4294967294",
			"process.user.umask: must be at most 511 (octal 777), not 512",
		}},
		{"capabilities", `{"process": {"capabilities": {"effective": ["CAP_KILL", "CAP_CHOWN"]}}}`,
			[]string{`process.capabilities.effective[1]: "CAP_CHOWN" must also be in process.capabilities.permitted`}},
		{"unknown capability", `{"process": {"capabilities": {"bounding": ["CAP_NEW"]}}}`, nil},
		{"rlimits", `{"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}, {"type": "RLIMIT_CORE"}, {"type": "nofile"}]}}`, []string{
			"process.rlimits[0].soft: must be at most the hard limit 1, not 2",
			`process.rlimits[1].type: "RLIMIT_CORE" is set twice`,
			`process.rlimits[2].type: must be one of ` + strings.Join(rlimitTypes, ", ") + `, not "nofile"`,
		}},
		{"oom score", `{"process": {"oomScoreAdj": 1001}}`, []string{"process.oomScoreAdj: must be from -1000 to 1000, not 1001"}},
		{"scheduler policy", `{"process": {"scheduler": {"policy": "fast"}}}`, []string{
			`process.scheduler.policy: must be one of SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE, not "fast"`,
		}},
		{"scheduler", `{"process": {"scheduler": {"policy": "SCHED_BATCH", "nice": 20, "priority": 1, "runtime": 5, "flags": ["SCHED_FLAG_RECLAIM", "x"]}}}`, []string{
			"process.scheduler.nice: must be from -20 to 19, not 20",
			`process.scheduler.priority: needs the policy SCHED_FIFO or SCHED_RR, not "SCHED_BATCH"`,
			`process.scheduler: runtime, deadline and period need the policy SCHED_DEADLINE, not "SCHED_BATCH"`,
			`process.scheduler.flags[1]: must be one of ` + join(schedulerFlags) + `, not "x"`,
		}},
		{"io priority", `{"process": {"ioPriority": {"class": "x", "priority": 8}}}`, []string{
			`process.ioPriority.class: must be one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE, not "x"`,
			"process.ioPriority.priority: must be from 0 to 7, not 8",
		}},
		{"affinity", `{"process": {"execCPUAffinity": {"initial": "0-1,3", "final": "3-1"}}}`,
			[]string{`process.execCPUAffinity.final: must be a list such as "0-3,8", not "3-1"`}},

		{"long hostname", `{"hostname": "` + long + `", "domainname": "` + long + `"}`, []string{
			"hostname: must have at most 64 bytes, not 65",
			"domainname: must have at most 64 bytes, not 65",
		}},
		{"hostname of the host", `{"domainname": "d", "linux": {"namespaces": [{"type": "mount"}]}}`, []string{
			`hostname: needs a namespace of type "uts" in linux.namespaces`,
			`domainname: needs a namespace of type "uts" in linux.namespaces`,
		}},
		{"hooks", `{"hooks": {"prestart": [{"path": "x"}], "createRuntime": [{"path": "/x", "timeout": 0, "env": ["A"]}], "createContainer": [{"path": ""}],
			"startContainer": [{"path": "s"}], "poststart": [{"path": "t"}], "poststop": [{"path": "/ok", "timeout": 1}, {"path": "u"}]}}`, []string{
			`hooks.prestart[0].path: must be an absolute path, not "x"`,
			`hooks.createRuntime[0].env[0]: must be NAME=VALUE, not "A"`,
			"hooks.createRuntime[0].timeout: must be more than 0 seconds, not 0",
			"hooks.createContainer[0].path: is missing or empty; set it to an absolute path",
			`hooks.startContainer[0].path: must be an absolute path, not "s"`,
			`hooks.poststart[0].path: must be an absolute path, not "t"`,
			`hooks.poststop[1].path: must be an absolute path, not "u"`,
		}},

		{"mount destination", `{"mounts": [{"type": "tmpfs"}, {"destination": "relative", "type": "tmpfs"}]}`,
			[]string{"mounts[0].destination: is missing or empty; set it to an absolute path"}},
		{"mount type", `{"mounts": [{"destination": "/a"}, {"destination": "/b", "options": ["remount", "ro"]}]}`,
			[]string{`mounts[0].type: is missing or empty; name a file system such as "tmpfs", or add the option "bind"`}},
		{"mount type bind", `{"mounts": [{"destination": "/a", "type": "bind", "source": "/s"}]}`,
			[]string{`mounts[0].options: must have "bind" or "rbind": the type alone doesn't make a bind mount`}},
		{"bind mount", `{"mounts": [{"destination": "/a", "options": ["rbind", "rslave", "rro", "lowerdir=/l", "size=1k", "mode=755", "size"]}]}`, []string{
			"mounts[0].source: is missing or empty; set it to the path to bind",
			`mounts[0].options[3]: "lowerdir=/l" is no option of a bind mount`,
			`mounts[0].options[6]: "size" is no option of a bind mount`,
		}},
		{"mount null bytes", `{"mounts": [{"destination": "/\u0000", "type": "t\u0000", "source": "\u0000", "options": ["\u0000"]}]}`, []string{
			`mounts[0].destination: must not contain a null byte: "/\x00"`,
			`mounts[0].source: must not contain a null byte: "\x00"`,
			`mounts[0].type: must not contain a null byte: "t\x00"`,
			`mounts[0].options[0]: must not contain a null byte: "\x00"`,
		}},
		{"idmap", `{"mounts": [{"destination": "/a", "type": "tmpfs", "uidMappings": [{"size": 1}]}, {"destination": "/b", "source": "/b", "options": ["bind", "idmap"]}]}`, []string{
			`mounts[0].options: must have "bind" or "rbind": only bind mounts can map ids`,
			"mounts[0]: must have both uidMappings and gidMappings, or neither",
			"mounts[1]: must have uidMappings and gidMappings: there is no user namespace to take them from",
		}},

		{"no linux", `{"linux": null, "hostname": ""}`, []string{"linux: is missing; without it the program would share all namespaces of the host"}},
		{"namespaces", `{"linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "uts"}, {"type": "net"}, {"type": "pid", "path": "x"}]}}`, []string{
			`linux.namespaces[2].type: "uts" is listed twice`,
			`linux.namespaces[3].type: must be one of cgroup, ipc, mount, network, pid, time, user, uts, not "net"`,
			`linux.namespaces[4].path: must be an absolute path, not "x"`,
		}},
		{"mappings without user namespace", `{"linux": {"uidMappings": [{"size": 1}], "gidMappings": [{"size": 1}]}}`, nil},
		{"user namespace without mappings", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}], "gidMappings": [{"containerID": 1, "size": 1}]}}`, []string{
			"linux.uidMappings: is missing or empty; the new user namespace needs one",
			"linux.gidMappings: must map container id 0: the sandbox is set up as its user namespace's root",
		}},
		{"user namespace joined", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/proc/1/ns/user"}]}}`, nil},
		{"mappings", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}],
			"uidMappings": [{"size": 10}, {"containerID": 9, "hostID": 10, "size": 1}, {"containerID": 20, "hostID": 5, "size": 1}, {"containerID": 30, "hostID": 30}],
			"gidMappings": [{"size": 4294967295}]}}`, []string{
			"linux.uidMappings[1].containerID: overlaps with the entry 0",
			"linux.uidMappings[2].hostID: overlaps with the entry 0",
			"linux.uidMappings[3].size: must be more than 0",
		}},
		{"time offsets", `{"linux": {"timeOffsets": {"monotonic": {"nanosecs": 1000000000}, "real": {}}}}`, []string{
			`linux.timeOffsets: needs a namespace of type "time" in linux.namespaces`,
			"linux.timeOffsets.monotonic.nanosecs: must be less than 1000000000, not 1000000000",
			`linux.timeOffsets.real: must be "monotonic" or "boottime"`,
		}},
		{"time offsets joined", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}, {"type": "time", "path": "/t"}], "timeOffsets": {"boottime": {"secs": 1}}}}`,
			[]string{"linux.timeOffsets: can't be set for a time namespace that is joined by its path"}},
		{"devices", `{"linux": {"devices": [{"path": "dev/x", "type": "c"}, {"path": "/x", "type": "x"}, {"path": "/y", "type": "b", "major": -1, "minor": 4294967296}, {"path": "/p", "type": "p", "major": -1}]}}`, []string{
			`linux.devices[0].path: must be an absolute path, not "dev/x"`,
			`linux.devices[1].type: must be one of b, c, p, u, not "x"`,
			"linux.devices[2].major: must be from 0 to 4294967295, not -1",
			"linux.devices[2].minor: must be from 0 to 4294967295, not 4294967296",
		}},
		{"net devices", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}], "netDevices": {"eth0": {"name": "0123456789abcdef"}, "a/b": {}}}}`, []string{
			`linux.netDevices: needs a namespace of type "network" in linux.namespaces`,
			`linux.netDevices["a/b"]: must be an interface name of 1 to 15 bytes without '/', ':' and white space`,
			`linux.netDevices.eth0.name: must be an interface name of 1 to 15 bytes without '/', ':' and white space, not "0123456789abcdef"`,
		}},
		{"sysctl", `{"linux": {"sysctl": {"kernel.msgmax": "1", "net/ipv4/ip_forward": "1", "kernel.domainname": "d", "kernel.hostname": "h", "vm.swappiness": "1", "user.max_user_namespaces": "1", "fs.mqueue.x": "\u0000"}}}`, []string{
			`linux.sysctl["fs.mqueue.x"]: must not contain a null byte: "\x00"`,
			`linux.sysctl["kernel.hostname"]: must be set as hostname instead`,
			`linux.sysctl["user.max_user_namespaces"]: needs a namespace of type "user" in linux.namespaces: setting it would change the host`,
			`linux.sysctl["vm.swappiness"]: belongs to no namespace: setting it would change the host`,
		}},
		{"sysctl of the host", `{"hostname": "", "linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.sem": "1", "net.core.somaxconn": "1", "kernel.domainname": "d"}}}`, []string{
			`linux.sysctl["kernel.domainname"]: needs a namespace of type "uts" in linux.namespaces: setting it would change the host`,
			`linux.sysctl["kernel.sem"]: needs a namespace of type "ipc" in linux.namespaces: setting it would change the host`,
			`linux.sysctl["net.core.somaxconn"]: needs a namespace of type "network" in linux.namespaces: setting it would change the host`,
		}},
		{"propagation", `{"linux": {"rootfsPropagation": "public"}}`, []string{
			`linux.rootfsPropagation: must be one of private, rprivate, rshared, rslave, runbindable, shared, slave, unbindable, not "public"`,
		}},
		{"paths inside", `{"linux": {"maskedPaths": ["/a", "b"], "readonlyPaths": [""]}}`, []string{
			`linux.maskedPaths[1]: must be an absolute path, not "b"`,
			"linux.readonlyPaths[0]: is missing or empty; set it to an absolute path",
		}},
		{"personality", `{"linux": {"personality": {"domain": "BSD"}}}`, []string{`linux.personality.domain: must be "LINUX" or "LINUX32", not "BSD"`}},
		{"rdt", `{"linux": {"intelRdt": {"closID": "a/b"}}}`, []string{`linux.intelRdt.closID: must be "/" or a name without a slash, not "a/b"`}},
		{"memory policy", `{"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["x"]}}}`, []string{
			`linux.memoryPolicy.flags[0]: must be one of MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES, not "x"`,
			"linux.memoryPolicy.nodes: is missing or empty; MPOL_BIND needs at least one",
		}},
		{"memory policy local", `{"linux": {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}}`, []string{`linux.memoryPolicy.nodes: must be empty for MPOL_LOCAL, not "0"`}},
		{"memory policy mode", `{"linux": {"memoryPolicy": {"mode": "x", "nodes": "a"}}}`, []string{
			`linux.memoryPolicy.mode: must be one of ` + join(memoryPolicyModes) + `, not "x"`,
			`linux.memoryPolicy.nodes: must be a list such as "0-3,8", not "a"`,
		}},

		{"device rules", `{"linux": {"resources": {"devices": [{"access": "rx", "type": "d", "major": -2, "minor": -3}, {"allow": true}]}}}`, []string{
			`linux.resources.devices[0].type: must be one of a, b, c, not "d"`,
			`linux.resources.devices[0].access: must be letters of "rwm", not "rx"`,
			"linux.resources.devices[0].major: must be a device number, or -1 for all, not -2",
			"linux.resources.devices[0].minor: must be a device number, or -1 for all, not -3",
			`linux.resources.devices[1].access: must be letters of "rwm", not ""`,
		}},
		{"memory", `{"linux": {"resources": {"memory": {"limit": -2, "reservation": -3, "swap": -4, "swappiness": 101}}}}`, []string{
			"linux.resources.memory.limit: must be a number of bytes, or -1 for no limit, not -2",
			"linux.resources.memory.reservation: must be a number of bytes, or -1 for no limit, not -3",
			"linux.resources.memory.swap: must be a number of bytes, or -1 for no limit, not -4",
			"linux.resources.memory.swappiness: must be from 0 to 100, not 101",
		}},
		{"memory without limit", `{"linux": {"resources": {"memory": {"limit": -1, "swap": -1}}}}`, nil},
		{"swap below limit", `{"linux": {"resources": {"memory": {"limit": 4096, "swap": 4095}}}}`,
			[]string{"linux.resources.memory.swap: must be at least the memory limit 4096, not 4095: it is the sum of memory and swap"}},
		{"swap alone", `{"linux": {"resources": {"memory": {"swap": 4095}}}}`,
			[]string{"linux.resources.memory.swap: needs linux.resources.memory.limit: it is the sum of memory and swap"}},
		{"cpu", `{"linux": {"resources": {"cpu": {"quota": 999, "period": 1000001, "burst": 1000, "idle": 2, "cpus": "a", "mems": "0-"}}}}`, []string{
			"linux.resources.cpu.quota: must be at least 1000 microseconds, or -1 for no limit, not 999",
			"linux.resources.cpu.period: must be from 1000 to 1000000 microseconds, not 1000001",
			"linux.resources.cpu.burst: must be at most the quota 999, not 1000",
			"linux.resources.cpu.idle: must be 0 or 1, not 2",
			`linux.resources.cpu.cpus: must be a list such as "0-3,8", not "a"`,
			`linux.resources.cpu.mems: must be a list such as "0-3,8", not "0-"`,
		}},
		{"pids", `{"linux": {"resources": {"pids": {"limit": -2}}}}`, []string{"linux.resources.pids.limit: must be a number of tasks, or -1 for no limit, not -2"}},
		{"block io", `{"linux": {"resources": {"blockIO": {"weight": 9, "leafWeight": 1001, "weightDevice": [{"major": 8, "minor": -1, "weight": 1}],
			"throttleWriteIOPSDevice": [{"major": -1, "minor": 0, "rate": 1}]}}}}`, []string{
			"linux.resources.blockIO.weight: must be from 10 to 1000, not 9",
			"linux.resources.blockIO.leafWeight: must be from 10 to 1000, not 1001",
			"linux.resources.blockIO.weightDevice[0].weight: must be from 10 to 1000, not 1",
			"linux.resources.blockIO.weightDevice[0].minor: must be from 0 to 4294967295, not -1",
			"linux.resources.blockIO.throttleWriteIOPSDevice[0].major: must be from 0 to 4294967295, not -1",
		}},
		{"huge pages", `{"linux": {"resources": {"hugepageLimits": [{"pageSize": "64KB"}, {"pageSize": "2M"}, {"pageSize": "../MB"}]}}}`, []string{
			`linux.resources.hugepageLimits[1].pageSize: must be a size such as "2MB" or "1GB", not "2M"`,
			`linux.resources.hugepageLimits[2].pageSize: must be a size such as "2MB" or "1GB", not "../MB"`,
		}},
		{"unified", `{"linux": {"resources": {"unified": {"memory.high": "1", "../x.y": "1", "memory": "1"}}}}`, []string{
			`linux.resources.unified["../x.y"]: must be a file of a cgroup v2 controller such as "memory.high"`,
			`linux.resources.unified.memory: must be a file of a cgroup v2 controller such as "memory.high"`,
		}},

		{"seccomp off", `{"linux": {"seccomp": {"defaultAction": "", "syscalls": []}}}`, nil},
		{"seccomp", `{"linux": {"seccomp": {"defaultAction": "allow", "architectures": ["SCMP_ARCH_X86", "amd64"], "flags": ["x"], "listenerMetadata": "m",
			"syscalls": [{"action": "SCMP_ACT_ALLOW", "errnoRet": 1}, {"names": [""], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}, {"names": ["a"], "action": "x", "args": [{"index": 6, "op": "="}]}]}}}`, []string{
			`linux.seccomp.defaultAction: must be one of ` + join(seccompActions) + `, not "allow"`,
			`linux.seccomp.defaultErrnoRet: needs the action SCMP_ACT_ERRNO or SCMP_ACT_TRACE, not "allow"`,
			`linux.seccomp.architectures[1]: must be one of ` + join(seccompArches) + `, not "amd64"`,
			`linux.seccomp.flags[0]: must be one of ` + join(seccompFlags) + `, not "x"`,
			"linux.seccomp.listenerMetadata: needs linux.seccomp.listenerPath",
			"linux.seccomp.syscalls[0].names: is missing or empty; name at least one system call",
			`linux.seccomp.syscalls[0].errnoRet: needs the action SCMP_ACT_ERRNO or SCMP_ACT_TRACE, not "SCMP_ACT_ALLOW"`,
			"linux.seccomp.syscalls[1].names[0]: must name a system call, not be empty",
			"linux.seccomp.syscalls[1].errnoRet: must be at most 4095, not 4096",
			`linux.seccomp.syscalls[2].action: must be one of ` + join(seccompActions) + `, not "x"`,
			"linux.seccomp.syscalls[2].args[0].index: must be from 0 to 5, not 6",
			`linux.seccomp.syscalls[2].args[0].op: must be one of ` + join(seccompOperators) + `, not "="`,
		}},
		{"seccomp notify", `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "defaultErrnoRet": 0, "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]}}}`, []string{
			"linux.seccomp.defaultAction: must not be SCMP_ACT_NOTIFY: the sandbox would wait for itself",
			`linux.seccomp.syscalls[0].names[1]: must not be "write" with SCMP_ACT_NOTIFY: the sandbox would wait for itself`,
			"linux.seccomp.listenerPath: is missing or empty; SCMP_ACT_NOTIFY needs it",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := patched(t, test.patch)
			want := ""
			if len(test.want) > 0 {
				want = "config.json: " + strings.Join(test.want, "\nconfig.json: ")
			}
			err := Validate(spec)
			if got := errorText(err); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			var specErr *SpecError
			if want != "" && !errors.As(err, &specErr) {
				t.Errorf("no *SpecError in %T", err)
			}
		})
	}
}

// patched returns the default spec with a JSON merge patch applied.
func patched(t *testing.T, patch string) *specs.Spec {
	t.Helper()
	var target, change any
	if err := json.Unmarshal(defaultDocument(t), &target); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(patch), &change); err != nil {
		t.Fatal(err)
	}
	spec, err := Decode([]byte(toJSON(t, merge(target, change))))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func merge(target, change any) any {
	members, ok := change.(map[string]any)
	if !ok {
		return change
	}
	merged, ok := target.(map[string]any)
	if !ok {
		merged = map[string]any{}
	}
	for name, value := range members {
		if value == nil {
			delete(merged, name)
			continue
		}
		merged[name] = merge(merged[name], value)
	}
	return merged
}

func TestValidateNothing(t *testing.T) {
	if got, want := errorText(Validate(nil)), "config.json: must be an object, not null"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want := strings.Join([]string{
		`config.json: ociVersion: is missing; set it to "1.3.0"`,
		"config.json: root: is missing; set root.path to the directory of the root filesystem",
		"config.json: process: is missing; set process.args and process.cwd",
		"config.json: linux: is missing; without it the program would share all namespaces of the host",
	}, "\n")
	if got := errorText(Validate(&specs.Spec{})); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func BenchmarkValidate(b *testing.B) {
	spec := mustDefault(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := Validate(spec); err != nil {
			b.Fatal(err)
		}
	}
}
