package equivalence_test

import "github.com/opencontainers/runtime-spec/specs-go"

func execCases() group {
	// in runs a command line of exec in a running container.
	in := func(name, commands string) testCase {
		return testCase{name: name, edit: idle(), script: "up\n" + commands, normalise: hostPids()}
	}
	// given runs the process of a file.
	given := func(name, process, flags string) testCase {
		return in(name, "cat >process.json <<'END'\n"+process+"\nEND\ncode rt exec "+flags+` --process process.json "$ID"`)
	}
	with := func(c testCase, edit func(*specs.Spec)) testCase {
		c.edit = func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			edit(spec)
		}
		return c
	}
	return group{"exec", "exec, with all its flags", []testCase{
		in("as it is", `code rt exec "$ID" probe`),
		in("exit codes", `for n in 0 1 42 255; do code rt exec "$ID" workload exit $n; done`),
		in("ended by a signal", `code rt exec "$ID" workload suicide TERM; code rt exec "$ID" workload suicide KILL`),
		in("arguments that look like flags", `code rt exec "$ID" workload args -t --user x -- y`),
		in("after two dashes", `code rt exec "$ID" -- workload args x`),
		in("stdin", `printf 'one\ntwo' | code rt exec "$ID" cat`),
		in("stderr apart", `code rt exec "$ID" sh -c 'echo out; echo err >&2' 2>err.txt; cat err.txt`),
		in("much output", `rt exec "$ID" seq 200000 | md5sum`),
		in("detached", `quietly rt exec -d "$ID" sh -c 'echo ran >/dev/shm/ran; sleep 300' </dev/null; until_true rt exec "$ID" test -s /dev/shm/ran; rt exec "$ID" cat /dev/shm/ran`),
		in("detached with a pid file", `quietly rt exec --detach --pid-file pid "$ID" sleep 300 </dev/null; until_true grep -q ^sleep /proc/$(cat pid)/cmdline; tr '\0' ' ' </proc/$(cat pid)/cmdline; stat -c %a pid`),
		in("pid file", `code rt exec --pid-file pid "$ID" true; grep -c '^[0-9]*$' pid`),
		in("cwd", `code rt exec --cwd /data/sub "$ID" pwd`),
		in("cwd that is missing", `code rt exec --cwd /no/such "$ID" pwd`),
		in("cwd relative", `code rt exec --cwd data "$ID" pwd`),
		in("environment", `code rt exec -e A=1 -e B="2 3" -e A=4 "$ID" env`),
		in("environment PATH", `code rt exec -e PATH=/nowhere "$ID" env; code rt exec -e PATH=/nowhere "$ID" /bin/env`),
		in("environment without equals sign", `code rt exec -e WRONG "$ID" env`),
		in("environment with a comma", `code rt exec -e A=1,B=2 "$ID" env`),
		in("user", `code rt exec -u 1000 "$ID" id; code rt exec --user 1000:50 "$ID" id`),
		in("user by name", `code rt exec -u ada "$ID" id`),
		in("user unreadable", `code rt exec -u 1000:x "$ID" id; code rt exec -u -1 "$ID" id; code rt exec -u 99999999999 "$ID" id; code rt exec -u 1:2:3 "$ID" id`),
		in("user and HOME", `code rt exec -u 1000 "$ID" sh -c 'echo $HOME'`),
		in("additional groups", `code rt exec -g 50 -g 60 "$ID" id; code rt exec --additional-gids 60 "$ID" id`),
		in("additional group unreadable", `quietly rt exec -g staff "$ID" id; quietly rt exec -g -5 "$ID" id`),
		in("capabilities", `code rt exec --cap CAP_NET_ADMIN --cap CAP_CHOWN "$ID" workload status`),
		in("capabilities of a user", `code rt exec -u 1000 --cap CAP_NET_ADMIN "$ID" workload status`),
		in("capability unknown", `code rt exec --cap CAP_NO_SUCH "$ID" workload status`),
		in("capability without prefix", `code rt exec --cap NET_ADMIN "$ID" workload status`),
		with(in("no new privileges", `code rt exec --no-new-privs "$ID" workload status; code rt exec "$ID" workload status`),
			func(s *specs.Spec) { s.Process.NoNewPrivileges = false }),
		in("apparmor where there is none", `code rt exec --apparmor no-such "$ID" true`),
		in("selinux where there is none", `code rt exec --process-label system_u:system_r:t:s0 "$ID" true`),
		in("cgroup below", `mkdir -p /sys/fs/cgroup/pids/$ID/sub && code rt exec --cgroup pids:sub "$ID" grep pids /proc/self/cgroup; code rt exec --cgroup no-such "$ID" true`),
		in("cgroup with dots", `code rt exec --cgroup pids:../x "$ID" true`),
		in("cgroup of an unknown controller", `code rt exec --cgroup nosuch:sub "$ID" true`),
		in("descriptors", `exec 3<bundle/config.json 4</dev/null; code rt exec --preserve-fds 2 "$ID" workload fds; code rt exec "$ID" workload fds`),
		in("descriptors that are not open", `code rt exec --preserve-fds 3 "$ID" workload fds`),
		in("LISTEN_FDS", `exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ code rt exec "$ID" sh -c 'echo $LISTEN_FDS $LISTEN_PID; workload fds'`),
		in("terminal", `pty 30x90 "$RUNTIME" --root "$STATE" exec -t "$ID" sh -c 'sleep 0.5; workload tty'; echo $?`),
		in("terminal, all of it", `pty 30x90 "$RUNTIME" --root "$STATE" exec --tty "$ID" probe; echo $?`),
		in("terminal without one here", `code rt exec -t "$ID" workload tty </dev/null | cat`),
		in("terminal and exit code", `pty 30x90 "$RUNTIME" --root "$STATE" exec -t "$ID" workload exit 9; echo $?`),
		in("detached terminal without socket", `code rt exec -d -t "$ID" true`),
		in("console socket", `console $DIR/sock >seen & until_true test -S sock; code rt exec -d -t --console-socket $DIR/sock "$ID" workload tty; wait; cat seen`),
		in("console socket by relative path", `console $DIR/sock >seen & until_true test -S sock; code rt exec -d -t --console-socket sock "$ID" true; kill $!`),
		in("console socket without terminal", `code rt exec --console-socket $DIR/sock "$ID" true; code rt exec -d --console-socket $DIR/sock "$ID" true`),
		in("console socket that is missing", `code rt exec -d -t --console-socket no/such "$ID" true`),
		in("pidfd socket", `pidfd $DIR/sock >seen & until_true test -S sock; code rt exec --pidfd-socket $DIR/sock "$ID" sleep 0.5; wait; cat seen`),
		in("program missing", `code rt exec "$ID" no-such; code rt exec "$ID" /no/such`),
		in("program not executable", `code rt exec "$ID" /etc/plain; code rt exec "$ID" /data`),
		in("program without its interpreter", `code rt exec "$ID" /bin/orphan`),
		in("no program", `quietly rt exec "$ID"`),
		in("two forms of a flag", `quietly rt exec -c CAP_CHOWN --cap CAP_KILL "$ID" true`),
		in("unknown flag", `quietly rt exec --no-such "$ID" true`),
		in("unknown container", `code rt exec no-such true`),
		{name: "created container", edit: idle(), script: created + `code rt exec "$ID" echo inside; status`},
		{name: "stopped container", edit: idle(), script: killed + `code rt exec "$ID" true`},
		given("process from a file", `{"args":["probe"],"cwd":"/data","user":{"uid":1000,"gid":50,"umask":63,"additionalGids":[7]},"env":["PATH=/bin","X=1"],
			"capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"permitted":["CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]},
			"rlimits":[{"type":"RLIMIT_NOFILE","soft":50,"hard":60}],"noNewPrivileges":true,"oomScoreAdj":300}`, ""),
		given("process with scheduler and io priority", `{"args":["sh","-c","cut -d ' ' -f 18,19,40,41 /proc/self/stat; ionice -p $$"],"cwd":"/","env":["PATH=/bin"],"scheduler":{"policy":"SCHED_BATCH","nice":3},"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":7}}`, ""),
		given("process with CPU affinity", `{"args":["grep","Cpus_allowed_list","/proc/self/status"],"cwd":"/","env":["PATH=/bin"],"execCPUAffinity":{"initial":"0","final":"1"}}`, ""),
		given("process without capabilities", `{"args":["workload","status"],"cwd":"/","env":["PATH=/bin"]}`, ""),
		given("process without arguments", `{"cwd":"/","env":["PATH=/bin"]}`, ""),
		given("process without cwd", `{"args":["true"],"env":["PATH=/bin"]}`, ""),
		given("process that is no JSON", `{"args":`, ""),
		given("process with flags beside it", `{"args":["sh","-c","id; pwd; echo $E"],"cwd":"/","env":["PATH=/bin"]}`, "-u 1000 --cwd /data -e E=1"),
		given("process with a terminal", `{"args":["workload","tty"],"cwd":"/","env":["PATH=/bin"],"terminal":true,"consoleSize":{"height":20,"width":70}}`, "-t"),
		in("process file that is missing", `code rt exec --process no/such "$ID"`),
		in("process file and arguments", `echo '{"args":["echo","file"],"cwd":"/","env":["PATH=/bin"]}' >p; code rt exec --process p "$ID" echo arguments`),
		with(in("in a user namespace", `code rt exec "$ID" probe; code rt exec -u 1000:1000 "$ID" id`), withUserNamespace),
		with(in("in a time namespace", `code rt exec "$ID" cat /proc/self/timens_offsets; code rt exec "$ID" readlink /proc/self/ns/time`), func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000}}
		}),
		with(in("under the container's seccomp", `code rt exec "$ID" sh -c 'mkdir /dev/shm/x; echo $?; grep -i seccomp /proc/self/status'`), func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}}}
		}),
		with(in("with the container's settings", `code rt exec "$ID" probe`), func(s *specs.Spec) {
			s.Process.OOMScoreAdj, s.Process.User.Umask = ptr(400), ptr(uint32(0o077))
			s.Process.User.UID, s.Process.User.AdditionalGids = 1000, []uint32{50}
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 4}
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 3, Hard: 4}}
			s.Process.Cwd = "/data"
		}),
	}}
}

func streamCases() group {
	terminal := func(args ...string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, _ *trial) { spec.Process.Terminal, spec.Process.Args = true, args }
	}
	const onTerminal = `pty 30x90 "$RUNTIME" --root "$STATE" run -b bundle "$ID"; echo $?`
	return group{"streams", "terminals, descriptors, sockets and notification", []testCase{
		{name: "terminal", edit: terminal("sh", "-c", "sleep 0.5; workload tty"), script: onTerminal},
		{name: "terminal, all of it", edit: terminal("probe"), script: onTerminal},
		{name: "terminal and exit code", edit: terminal("workload", "exit", "5"), script: onTerminal},
		{name: "terminal of a given size", edit: func(spec *specs.Spec, tr *trial) {
			terminal("workload", "tty")(spec, tr)
			spec.Process.ConsoleSize = &specs.Box{Height: 11, Width: 22}
		}, script: onTerminal},
		{name: "terminal of a user", edit: func(spec *specs.Spec, tr *trial) {
			terminal("sh", "-c", "stat -c '%n %F %a %u:%g' /dev/console /dev/pts/0; tty; echo x >/dev/tty")(spec, tr)
			spec.Process.User = specs.User{UID: 1000, GID: 1000}
		}, script: onTerminal},
		{name: "terminal without devpts", edit: func(spec *specs.Spec, tr *trial) {
			terminal("workload", "tty")(spec, tr)
			dropMount(spec, "/dev/pts")
		}, script: `pty 30x90 "$RUNTIME" --root "$STATE" run -b bundle "$ID" >text; echo $?; grep -o '/dev/pts.*directory' text`},
		{name: "terminal without one here", edit: terminal("workload", "tty"), script: `code rt run -b bundle "$ID" </dev/null | cat`},
		{name: "terminal, detached, without socket", edit: terminal("true"), script: `code rt run -d -b bundle "$ID"; code rt create -b bundle "$ID"`},
		{name: "console socket of run", edit: terminal("workload", "tty"), script: `console $DIR/sock >seen & until_true test -S sock; code rt run -d --console-socket $DIR/sock -b bundle "$ID"; wait; cat seen`},
		{name: "console socket of create", edit: terminal("workload", "tty"), script: `console $DIR/sock >seen & until_true test -S sock; code rt create --console-socket $DIR/sock -b bundle "$ID"; code rt start "$ID"; wait; cat seen`},
		{name: "console socket by relative path", edit: terminal("true"), script: `console $DIR/sock >seen & until_true test -S sock; code rt create --console-socket sock -b bundle "$ID"; kill $!`},
		{name: "console socket by path relative to the bundle", edit: terminal("true"), script: `console $DIR/bundle/sock >seen & until_true test -S bundle/sock; code rt create --console-socket sock -b bundle "$ID"; kill $!`},
		{name: "console socket and size", edit: func(spec *specs.Spec, tr *trial) {
			terminal("workload", "tty")(spec, tr)
			spec.Process.ConsoleSize = &specs.Box{Height: 11, Width: 22}
		}, script: `console $DIR/sock >seen & until_true test -S sock; code rt create --console-socket $DIR/sock -b bundle "$ID"; code rt start "$ID"; wait; cat seen`},
		{name: "console socket that is missing", edit: terminal("true"), script: `code rt create --console-socket no/such -b bundle "$ID"; rt list -q`},
		{name: "console socket that is a file", edit: terminal("true"), script: `: >file; code rt create --console-socket file -b bundle "$ID"; rt list -q`},
		{name: "console socket without terminal", edit: program("true"), script: `code rt create --console-socket $DIR/sock -b bundle "$ID"; rt list -q`},
		{name: "console socket in the foreground", edit: terminal("true"), script: `code rt run --console-socket $DIR/sock -b bundle "$ID"`},
		{name: "pidfd socket of run", edit: program("sleep", "0.5"), script: `pidfd $DIR/sock >seen & until_true test -S sock; code rt run --pidfd-socket $DIR/sock -b bundle "$ID"; wait; cat seen`},
		{name: "pidfd socket of create", edit: idle(), script: `pidfd $DIR/sock >seen & until_true test -S sock; code rt create --pidfd-socket $DIR/sock -b bundle "$ID" </dev/null >out; wait; cat seen`},
		{name: "pidfd socket that is missing", edit: program("true"), script: `code rt run --pidfd-socket no/such -b bundle "$ID"`},
		{name: "streams of a detached container", edit: program("workload", "fds"), script: `rt run -d -b bundle "$ID" </dev/null >to.out 2>to.err; gone; cat to.out`},
		{name: "descriptors", edit: program("workload", "fds"), script: `exec 3<bundle/config.json 4</dev/null; code rt run --preserve-fds 2 -b bundle "$ID"`},
		{name: "descriptors of create", edit: program("workload", "fds"), script: `exec 3<bundle/config.json; code rt create --preserve-fds 1 -b bundle "$ID" </dev/null >out; code rt start "$ID"; gone; cat out`},
		{name: "descriptors not asked for", edit: program("workload", "fds"), script: `exec 3<bundle/config.json 4</dev/null; ` + runBundle},
		{name: "descriptors that are not open", edit: program("workload", "fds"), script: `code rt run --preserve-fds 3 -b bundle "$ID"`},
		{name: "LISTEN_FDS", edit: program("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; workload fds"), script: `exec 3</dev/null 4</dev/null; LISTEN_FDS=2 LISTEN_PID=$$ code rt run -b bundle "$ID"`},
		{name: "LISTEN_FDS and more", edit: program("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; workload fds"), script: `exec 3</dev/null 4<bundle/config.json; LISTEN_FDS=1 code rt run --preserve-fds 1 -b bundle "$ID"`},
		{name: "LISTEN_FDS unreadable", edit: program("true"), script: `LISTEN_FDS=many code rt run -b bundle "$ID"`},
		{name: "NOTIFY_SOCKET that is missing", edit: program("sh", "-c", "echo $NOTIFY_SOCKET; ls /run/notify 2>&1"), script: `NOTIFY_SOCKET=/no/such/socket code rt run -b bundle "$ID"`},
	}}
}
