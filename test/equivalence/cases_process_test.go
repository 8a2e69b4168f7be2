package equivalence_test

import "github.com/opencontainers/runtime-spec/specs-go"

// change adapts an edit that needs the specification only.
func change(edit func(*specs.Spec)) func(*specs.Spec, *trial) {
	return func(spec *specs.Spec, _ *trial) { edit(spec) }
}

// process adapts an edit of the process.
func process(edit func(*specs.Process)) func(*specs.Spec, *trial) {
	return func(spec *specs.Spec, _ *trial) { edit(spec.Process) }
}

// program makes the bundle run a command line.
func program(args ...string) func(*specs.Spec, *trial) {
	return func(spec *specs.Spec, _ *trial) { spec.Process.Args = args }
}

// idle is a program that stays until it is killed, and ends by SIGTERM.
func idle() func(*specs.Spec, *trial) {
	return program("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 600 & wait $!; done")
}

func capabilities(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names, Inheritable: names, Ambient: names}
}

func processCases() group {
	cpus := func(initial, final string) *specs.CPUAffinity {
		return &specs.CPUAffinity{Initial: initial, Final: final}
	}
	return group{"process", "the program: identity, rights, limits, scheduling, environment, streams and exit code", []testCase{
		{name: "as spec writes it"},
		{name: "exit 0", edit: program("true")},
		{name: "exit 1", edit: program("false")},
		{name: "exit 42", edit: program("workload", "exit", "42")},
		{name: "exit 255", edit: program("workload", "exit", "255")},
		{name: "arguments as given", edit: program("workload", "args", "", "a b", "'\"", "$HOME", "-x", "ü")},
		{name: "killed from outside", edit: idle(), script: `code rt run -b bundle "$ID" & until_true has_status running; rt kill "$ID" KILL; wait`},
		{name: "a child ends by a signal", edit: program("sh", "-c", "workload suicide TERM; echo $?")},
		{name: "stdin", edit: program("cat"), script: `printf 'one\ntwo' | code rt run -b bundle "$ID"`},
		{name: "stdin empty", edit: program("wc", "-c"), script: `code rt run -b bundle "$ID" </dev/null`},
		{name: "stderr apart", edit: program("sh", "-c", "echo out; echo err >&2"), script: `code rt run -b bundle "$ID" 2>err.txt; cat err.txt`},
		{name: "much output", edit: program("sh", "-c", "seq 200000"), script: `rt run -b bundle "$ID" | md5sum`},
		{name: "a reader that stops", edit: program("yes"), script: `rt run -b bundle "$ID" | head -1`},

		{name: "environment", edit: process(func(p *specs.Process) { p.Env = append(p.Env, "A=1", "EMPTY=", "SPACE=a b", "A=2") })},
		{name: "environment with HOME", edit: process(func(p *specs.Process) { p.Env = append(p.Env, "HOME=/elsewhere") })},
		{name: "environment empty", edit: process(func(p *specs.Process) { p.Env, p.Args = nil, []string{"/bin/workload", "env"} })},
		{name: "environment without PATH", edit: process(func(p *specs.Process) { p.Env, p.Args = []string{"A=1"}, []string{"env"} })},
		{name: "environment without equals sign", edit: process(func(p *specs.Process) { p.Env = append(p.Env, "WRONG") })},
		{name: "cwd", edit: process(func(p *specs.Process) { p.Cwd = "/data/sub" })},
		{name: "cwd that is missing", edit: func(spec *specs.Spec, _ *trial) { spec.Root.Readonly, spec.Process.Cwd = false, "/new/dir" }},
		{name: "cwd that is a file", edit: process(func(p *specs.Process) { p.Cwd = "/etc/passwd" })},
		{name: "cwd relative", edit: process(func(p *specs.Process) { p.Cwd = "data" })},
		{name: "cwd without rights", edit: func(spec *specs.Spec, _ *trial) {
			spec.Process.Cwd, spec.Process.User = "/secret", specs.User{UID: 1000, GID: 1000}
		}, script: "mkdir -m 0700 bundle/rootfs/secret; " + runBundle},
		{name: "user", edit: process(func(p *specs.Process) { p.User = specs.User{UID: 1000, GID: 1000} })},
		{name: "user unknown", edit: process(func(p *specs.Process) { p.User = specs.User{UID: 4242, GID: 4243} })},
		{name: "additional groups", edit: process(func(p *specs.Process) { p.User.AdditionalGids = []uint32{50, 5, 1000} })},
		{name: "umask 0", edit: process(func(p *specs.Process) { mask := uint32(0); p.User.Umask = &mask })},
		{name: "umask 027", edit: process(func(p *specs.Process) { mask := uint32(0o27); p.User.Umask = &mask })},

		{name: "capabilities none", edit: process(func(p *specs.Process) { p.Capabilities = &specs.LinuxCapabilities{} })},
		{name: "capabilities null", edit: process(func(p *specs.Process) { p.Capabilities = nil })},
		{name: "capabilities ambient of a user", edit: process(func(p *specs.Process) {
			p.User, p.Capabilities = specs.User{UID: 1000}, capabilities("CAP_NET_ADMIN", "CAP_NET_RAW")
		})},
		{name: "capabilities of a user without ambient", edit: process(func(p *specs.Process) { p.User = specs.User{UID: 1000} })},
		{name: "capabilities many", edit: process(func(p *specs.Process) {
			p.Capabilities = capabilities("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_MKNOD", "CAP_SETUID", "CAP_NET_ADMIN")
		})},
		{name: "capability unknown", edit: process(func(p *specs.Process) { p.Capabilities = capabilities("CAP_KILL", "CAP_NO_SUCH") })},
		{name: "privileges may be gained", edit: process(func(p *specs.Process) { p.NoNewPrivileges = false })},

		{name: "rlimits", edit: process(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 128}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
				{Type: "RLIMIT_CPU", Soft: 10, Hard: 20}, {Type: "RLIMIT_STACK", Soft: 1 << 20, Hard: 1 << 22}, {Type: "RLIMIT_AS", Soft: 1 << 30, Hard: 1 << 31}}
		})},
		{name: "rlimits none", edit: process(func(p *specs.Process) { p.Rlimits = nil })},
		{name: "rlimit unknown", edit: process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NO", Soft: 1, Hard: 1}} })},
		{name: "rlimit twice", edit: process(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 1}, {Type: "RLIMIT_CORE", Soft: 2, Hard: 2}}
		})},
		{name: "rlimit soft above hard", edit: process(func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}} })},
		{name: "oom score", edit: process(func(p *specs.Process) { score := 500; p.OOMScoreAdj = &score })},
		{name: "oom score out of range", edit: process(func(p *specs.Process) { score := 5000; p.OOMScoreAdj = &score })},

		{name: "scheduler batch", edit: process(func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5} })},
		{name: "scheduler idle", edit: process(func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedIdle} })},
		{name: "scheduler real time", edit: process(func(p *specs.Process) {
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 3, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
		})},
		{name: "scheduler unknown", edit: process(func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: "SCHED_NO"} })},
		{name: "scheduler nice out of range", edit: process(func(p *specs.Process) { p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 50} })},
		{name: "io priority", edit: process(func(p *specs.Process) {
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		})},
		{name: "io priority idle", edit: process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE} })},
		{name: "io priority unknown", edit: process(func(p *specs.Process) { p.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_NO"} })},
		{name: "cpu affinity of exec", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Process.ExecCPUAffinity = cpus("0", "1")
		}, script: `up; code rt exec "$ID" grep Cpus_allowed_list /proc/self/status`},
		{name: "cpu affinity unreadable", edit: process(func(p *specs.Process) { p.ExecCPUAffinity = cpus("0-", "x") })},
		{name: "personality 32 bit", edit: change(func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} })},
		{name: "personality unknown", edit: change(func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "BSD"} })},
		{name: "apparmor where there is none", edit: process(func(p *specs.Process) { p.ApparmorProfile = "no-such-profile" })},
		{name: "selinux where there is none", edit: process(func(p *specs.Process) { p.SelinuxLabel = "system_u:system_r:container_t:s0" })},

		{name: "program missing", edit: program("no-such-program")},
		{name: "program missing by path", edit: program("/bin/no-such-program")},
		{name: "program not executable", edit: program("/etc/plain")},
		{name: "program without its interpreter", edit: program("/bin/orphan")},
		{name: "program is a directory", edit: program("/data")},
		{name: "program by relative path", edit: func(spec *specs.Spec, _ *trial) {
			spec.Process.Cwd, spec.Process.Args = "/bin", []string{"./workload", "exit", "3"}
		}},
		{name: "no arguments", edit: program()},
		{name: "no process", edit: change(func(s *specs.Spec) { s.Process = nil })},
		{name: "no process to create", edit: change(func(s *specs.Spec) { s.Process = nil }), script: `code rt create -b bundle "$ID"; status`},
	}}
}

func kernelCases() group {
	seccomp := func(s specs.LinuxSeccomp) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, _ *trial) { spec.Linux.Seccomp = &s }
	}
	rule := func(action specs.LinuxSeccompAction, names ...string) []specs.LinuxSyscall {
		return []specs.LinuxSyscall{{Names: names, Action: action}}
	}
	sysctl := func(values map[string]string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, _ *trial) { spec.Linux.Sysctl = values }
	}
	errno := uint(38)
	mkdir := func(edit func(*specs.Spec, *trial)) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			edit(spec, tr)
			spec.Process.Args = []string{"sh", "-c", "mkdir /dev/shm/x; echo $?; grep -i seccomp /proc/self/status"}
		}
	}
	return group{"kernel", "seccomp filters and sysctls", []testCase{
		{name: "seccomp allows all", edit: seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow})},
		{name: "seccomp errno", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActErrno, "mkdir", "mkdirat")}))},
		{name: "seccomp errno of its own", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}}}))},
		{name: "seccomp kills", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActKillProcess, "mkdir", "mkdirat")}))},
		{name: "seccomp traps", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActTrap, "mkdir", "mkdirat")}))},
		{name: "seccomp logs", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActLog, "mkdir", "mkdirat")}))},
		{name: "seccomp architectures", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86, specs.ArchX86_64, specs.ArchX32},
			Syscalls: rule(specs.ActErrno, "mkdir", "mkdirat")}))},
		{name: "seccomp argument", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"},
			Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 0o777, Op: specs.OpEqualTo}}}}}))},
		{name: "seccomp system call unknown", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActErrno, "no_such_call", "mkdir")}))},
		{name: "seccomp flags", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow},
			Syscalls: rule(specs.ActErrno, "mkdir", "mkdirat")}))},
		{name: "seccomp flag unknown", edit: mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"NO_SUCH"}, Syscalls: rule(specs.ActErrno, "mkdir")}))},
		{name: "seccomp action unknown", edit: seccomp(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_NO"})},
		{name: "seccomp architecture unknown", edit: seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_NO"}})},
		{name: "seccomp with privileges to gain", edit: func(spec *specs.Spec, tr *trial) {
			mkdir(seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActErrno, "mkdir", "mkdirat")}))(spec, tr)
			spec.Process.NoNewPrivileges = false
		}},
		{name: "seccomp notify without listener", edit: seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActNotify, "mkdir")})},
		{name: "seccomp notify to nobody", edit: seccomp(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/no/such/socket", Syscalls: rule(specs.ActNotify, "mkdir")})},
		{name: "sysctl of the network", edit: sysctl(map[string]string{"net.ipv4.ip_forward": "1", "net.ipv4.ping_group_range": "0 1000"})},
		{name: "sysctl with slashes", edit: sysctl(map[string]string{"net/ipv4/ip_unprivileged_port_start": "80"})},
		{name: "sysctl of IPC", edit: sysctl(map[string]string{"kernel.msgmax": "4096"})},
		{name: "sysctl of the message queues", edit: sysctl(map[string]string{"fs.mqueue.msg_max": "12"})},
		{name: "sysctl domainname", edit: sysctl(map[string]string{"kernel.domainname": "example.org"})},
		{name: "sysctl hostname against the spec", edit: sysctl(map[string]string{"kernel.hostname": "other"})},
		{name: "sysctl of the host refused", edit: sysctl(map[string]string{"kernel.pid_max": "1000"})},
		{name: "sysctl without namespace refused", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.NetworkNamespace)
			spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		}},
		{name: "sysctl unknown", edit: sysctl(map[string]string{"net.no.such": "1"})},
		{name: "sysctl value wrong", edit: sysctl(map[string]string{"net.ipv4.ping_group_range": "x"})},
	}}
}
