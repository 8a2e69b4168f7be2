package equivalence_test

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// killed is a container that has ended and was not deleted.
const killed = `up; rt kill "$ID" KILL; gone; `

const created = `rt create -b bundle "$ID" </dev/null >created.out; `

func lifecycleCases() group {
	waiting := `code rt create -b bundle "$ID" </dev/null >created.out; cat created.out; `
	cases := []testCase{
		{name: "create", script: waiting + `status; ls bundle; rt state "$ID" | shape`},
		{name: "create and start", edit: program("echo", "ran"), script: waiting + `code rt start "$ID"; gone; cat created.out; rt state "$ID" | shape`},
		{name: "create and delete", script: waiting + `code rt delete "$ID"; code rt state "$ID"`},
		{name: "create twice", script: waiting + waiting},
		{name: "create of a program that is missing", edit: program("no-such-program"), script: waiting + `code rt state "$ID"; rt list -q`},
		{name: "create with a pid file", script: `code rt create --pid-file pid -b bundle "$ID" </dev/null >out; cat out; stat -c %a pid; rt state "$ID" | grep -c "\"pid\": $(cat pid),"; tail -c 1 pid | grep -c '[0-9]'`},
		{name: "create with a pid file that cannot be written", script: `quietly rt create --pid-file no/such/dir/pid -b bundle "$ID" </dev/null; rt list -q`},
		{name: "start twice", edit: idle(), script: waiting + `code rt start "$ID"; code rt start "$ID"; status`},
		{name: "start stopped", edit: idle(), script: killed + `code rt start "$ID"`},
		{name: "start unknown", script: `code rt start no-such`},
		{name: "run", edit: program("echo", "ran"), script: `code rt run -b bundle "$ID"; code rt state "$ID"`},
		{name: "run of an ID in use", edit: idle(), script: `up; code rt run -b bundle "$ID"; status`},
		{name: "run detached", edit: idle(), script: `up; status; rt state "$ID" | shape`},
		{name: "run detached of what ends at once", edit: program("false"), script: `up; gone; rt state "$ID" | shape`},
		{name: "run detached with a pid file", edit: idle(), script: `up --pid-file pid; rt state "$ID" | grep -c "\"pid\": $(cat pid),"`},
		{name: "run kept", edit: program("workload", "exit", "3"), script: `code rt run --keep -b bundle "$ID"; status; code rt delete "$ID"`},
		{name: "run in the bundle", edit: program("echo", "ran"), script: `cd bundle; code rt run "$ID"`},
		{name: "run without new keyring", edit: program("echo", "ran"), script: `code rt run --no-new-keyring -b bundle "$ID"`},
		{name: "run without subreaper", edit: program("echo", "ran"), script: `code rt run --no-subreaper -b bundle "$ID"`},
		{name: "annotations", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Annotations = map[string]string{"org.example.a": "1", "b": "two"}
		}, script: `up; rt state "$ID" | shape; rt state "$ID" | grep -A3 annotations`},
		{name: "state of a container", edit: idle(), script: `up; rt state "$ID" | grep -v '"pid"\|"created"'`},
		{name: "state of one that stopped", edit: idle(), script: killed + `rt state "$ID" | grep -v '"created"'`},
		{name: "state unknown", script: `code rt state no-such`},
		{name: "state of an old version", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Version = "1.0.0"
		}, script: `up; rt state "$ID" | grep ociVersion`},
		{name: "list", edit: idle(), script: `up; rt list | sed -e 's/[0-9][0-9]* *running/N running/' -e 's/  */ /g'`},
		{name: "list quiet", edit: idle(), script: `up; rt list -q; rt list --quiet`},
		{name: "list as JSON", edit: idle(), script: `up; rt list -f json | shape; rt list --format json | wc -l`},
		{name: "list of nothing", script: `code rt list; code rt list -q; code rt list -f json`},
		{name: "list of what stopped", edit: idle(), script: killed + `rt list | sed -e 's/  */ /g'; rt list -f json | shape`},
		{name: "list in an unknown form", script: `code rt list -f yaml`},
		{name: "delete running", edit: idle(), script: `up; code rt delete "$ID"; status`},
		{name: "delete running by force", edit: idle(), script: `up; code rt delete -f "$ID"; code rt state "$ID"`},
		{name: "delete by force, long flag", edit: idle(), script: `up; code rt delete --force "$ID"; rt list -q`},
		{name: "delete stopped", edit: idle(), script: killed + `code rt delete "$ID"; code rt delete "$ID"`},
		{name: "delete created by force", script: created + `code rt delete -f "$ID"`},
		{name: "delete unknown", script: `code rt delete no-such`},
		{name: "delete unknown by force", script: `code rt delete -f no-such`},
		{name: "delete one that shares the host's processes", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.PIDNamespace)
			spec.Process.Args = []string{"sh", "-c", "sleep 300 & exec sleep 300"}
		}, script: `up; code rt delete -f "$ID"; limits`},
	}
	for _, signal := range []string{"TERM", "SIGTERM", "sigterm", "15", "term"} {
		cases = append(cases, testCase{name: "kill " + signal, edit: idle(),
			script: `up; until_true grep -q ready up.out; code rt kill "$ID" ` + signal + `; gone; status`})
	}
	return group{"lifecycle", "create, start, run, state, list, kill and delete in every state", append(cases, []testCase{
		{name: "kill without signal", edit: idle(), script: `up; until_true grep -q ready up.out; code rt kill "$ID"; gone; status`},
		{name: "kill by signal 0", edit: idle(), script: `up; code rt kill "$ID" 0; status`},
		{name: "kill by a real-time signal", edit: program("workload", "signal"), script: `up; until_true grep -q ready up.out; code rt kill "$ID" 40; until_true grep -q SIG40 up.out; code rt kill "$ID" USR1; until_true grep -q USR1 up.out; cat up.out`},
		{name: "kill by RTMIN", edit: idle(), script: `up; code rt kill "$ID" RTMIN+1; status`},
		{name: "kill by a signal that is none", edit: idle(), script: `up; code rt kill "$ID" NOSUCH; code rt kill "$ID" 4000; code rt kill "$ID" -1; status`},
		{name: "kill created", script: created + `code rt kill "$ID" KILL; gone; status`},
		{name: "kill stopped", edit: idle(), script: killed + `code rt kill "$ID" KILL`},
		{name: "kill all of a stopped one", edit: idle(), script: killed + `code rt kill -a "$ID" KILL; code rt kill --all "$ID" KILL`},
		{name: "kill unknown", script: `code rt kill no-such KILL`},
		{name: "kill what shares the host's processes", edit: func(spec *specs.Spec, _ *trial) {
			dropNamespace(spec, specs.PIDNamespace)
			spec.Process.Args = []string{"sh", "-c", "sleep 300 & exec sleep 300"}
		}, script: `up; code rt kill "$ID" KILL; gone; status; limits | grep -c pids.max; rt delete "$ID"; echo $?`},
	}...)}
}

func inputCases() group {
	wrong := func(name, commands string) testCase { return testCase{name: name, script: commands} }
	config := func(name, commands string) testCase {
		return testCase{name: name, edit: program("echo", "ran"), script: commands + `; code rt run -b bundle "$ID"; code rt create -b bundle "$ID"; rt list -q`}
	}
	ids := func(list ...string) string {
		var script strings.Builder
		for _, id := range list {
			script.WriteString("code rt run -b bundle '" + id + "'\n")
		}
		return script.String()
	}
	return group{"input", "what is refused: wrong command lines, IDs, bundles and specifications", []testCase{
		wrong("no bundle", `code rt run -b no/such "$ID"; code rt create -b no/such "$ID"`),
		wrong("a bundle without config.json", `mkdir empty; code rt run -b empty "$ID"`),
		wrong("a bundle that is a file", `code rt run -b bundle/config.json "$ID"`),
		config("config.json empty", ": >bundle/config.json"),
		config("config.json no JSON", "echo '{' >bundle/config.json"),
		config("config.json a list", "echo '[]' >bundle/config.json"),
		config("config.json of nothing", "echo '{}' >bundle/config.json"),
		config("config.json with a wrong type", `sed -i 's/"cwd": "[^"]*"/"cwd": 7/' bundle/config.json`),
		config("config.json with a member nobody knows", `sed -i 's/"hostname"/"futureMember": 1, "hostname"/' bundle/config.json`),
		config("no root", `sed -i 's/"root"/"toor"/' bundle/config.json`),
		config("no linux", `sed -i 's/"linux"/"xunil"/' bundle/config.json`),
		config("no version", `sed -i 's/"ociVersion"/"otherVersion"/' bundle/config.json`),
		config("a version to come", `sed -i 's/"ociVersion": "[^"]*"/"ociVersion": "1.99.0"/' bundle/config.json`),
		config("a version of another major", `sed -i 's/"ociVersion": "[^"]*"/"ociVersion": "2.0.0"/' bundle/config.json`),
		config("a version that is none", `sed -i 's/"ociVersion": "[^"]*"/"ociVersion": "new"/' bundle/config.json`),
		config("no root filesystem", `rm -rf bundle/rootfs`),
		config("a root filesystem that is a file", `rm -rf bundle/rootfs; echo >bundle/rootfs`),
		config("an empty root filesystem", `rm -rf bundle/rootfs; mkdir bundle/rootfs`),
		config("a root filesystem by link", `mv bundle/rootfs real; ln -s ../real bundle/rootfs`),
		wrong("IDs with characters they may not have", ids("a/b", "../a", "a b", "a:b", "ü", ".", "..")),
		wrong("an empty ID", ids("")),
		wrong("a long ID", `code rt run -b bundle "$ID-`+strings.Repeat("x", 1100)+`"`),
		wrong("no ID", `quietly rt create -b bundle; quietly rt state; quietly rt start; quietly rt kill; quietly rt delete; quietly rt exec`),
		wrong("too many arguments", `quietly rt state a b; quietly rt start a b; quietly rt delete a b; quietly rt run a b c; quietly rt list a; quietly rt spec a`),
		wrong("an unknown flag", `quietly rt run --no-such-flag "$ID"; quietly rt --no-such-flag list; quietly rt state --no-such "$ID"`),
		wrong("an unknown command", `quietly rt no-such-command`),
		wrong("a state root that is a file", `: >state; code rt run -b bundle "$ID"; rm state`),
		wrong("a state root without containers", `code rt list; code rt state "$ID"`),
		wrong("a log that cannot be written", `code rt --log no/such/log list`),
		wrong("an unknown log format", `code rt --log-format xml list`),
		wrong("rootless neither yes nor no", `code rt --rootless perhaps list`),
		wrong("errors in the log as JSON", `code rt --log log.json --log-format json state no-such; shape log.json; grep -c '"level":"error"' log.json; grep -o 'container does not exist' log.json`),
		wrong("errors in the log as text", `code rt --log log state no-such; grep -c 'level=error' log; grep -o 'container does not exist' log`),
		{name: "what containerd looks for when killing", edit: idle(),
			script: killed + `code rt --log log --log-format json kill "$ID" KILL; grep -o 'container not running' log`},
		wrong("help", `rt --help >help; echo $?; grep -o '^ *\(create\|run\|start\|state\|kill\|delete\|list\|spec\|exec\) ' help | sort -u; code rt run --help >/dev/null`),
		wrong("version", `rt --version >out; echo $?; rt -v | cmp - out; grep -c version out`),
		wrong("spec", `mkdir s; cd s; code rt spec; shape config.json; stat -c %a config.json; code rt spec`),
		wrong("spec in a bundle", `mkdir s; code rt spec -b s; code rt spec --bundle s; code rt spec -b no/such; ls s`),
		wrong("spec rootless", `mkdir s; cd s; code rt spec --rootless; shape config.json`),
		wrong("spec content", `mkdir s; cd s; rt spec; sed '/^		"seccomp": {/,/^		},/d' config.json`),
	}}
}

func hookCases() group {
	kinds := []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
	// say is a hook that notes its name, its environment and the state on stdin.
	say := func(tr *trial, kind, then string) specs.Hook {
		shell, file := "/bin/sh", tr.dir+"/hooks"
		if kind == "startContainer" {
			file = "/mnt/hooks" // it runs inside
		}
		if kind == "poststart" {
			file += ".poststart" // it runs beside the startContainer hooks
		}
		script := `{ echo "` + kind + ` $0 $*"; echo $A; cat; echo; } >>` + file + `; ` + then
		return specs.Hook{Path: shell, Args: []string{"sh", "-c", script, "zero", "one"}, Env: []string{"A=1", "PATH=/usr/bin:/bin"}}
	}
	add := func(spec *specs.Spec, kind string, hook specs.Hook) {
		if spec.Hooks == nil {
			spec.Hooks = &specs.Hooks{}
		}
		h := spec.Hooks
		list := map[string]*[]specs.Hook{"prestart": &h.Prestart, "createRuntime": &h.CreateRuntime, "createContainer": &h.CreateContainer, //nolint:staticcheck // SA1019: deprecated, but containers that have it must work.
			"startContainer": &h.StartContainer, "poststart": &h.Poststart, "poststop": &h.Poststop}[kind]
		*list = append(*list, hook)
	}
	// noted lets hooks inside the container write to the same file.
	noted := func(spec *specs.Spec, tr *trial) {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: tr.dir, Options: []string{"bind"}})
		spec.Process.Args = []string{"echo", "program"}
	}
	// Whether the program still says something before it is killed is chance.
	const quietRun = `quietly rt run -b bundle "$ID"`
	const told = `; sed -n 's/^\([a-zA-Z]* zero.*\)/\1/p; s/.*"status":"\([a-z]*\)".*/  status \1/p' hooks $(ls hooks.poststart 2>/dev/null)`
	cases := []testCase{
		{name: "order and status", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			for _, kind := range kinds {
				add(spec, kind, say(tr, kind, "true"))
				add(spec, kind, say(tr, kind, "true"))
			}
		}, script: runBundle + told},
		{name: "order when created, started and deleted", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			for _, kind := range kinds {
				add(spec, kind, say(tr, kind, "true"))
			}
		}, script: created + "echo created" + told + `; rm -f hooks*; code rt start "$ID"; gone; echo started` + told + `; rm -f hooks*; code rt delete "$ID"; echo deleted` + told},
		{name: "state on stdin", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			spec.Annotations = map[string]string{"a": "b"}
			for _, kind := range kinds {
				add(spec, kind, say(tr, kind, "true"))
			}
		}, script: runBundle + `; cat hooks hooks.poststart | grep '^{' >states; sed 's/"pid":[1-9][0-9]*/"pid":N/' states; shape states`},
		{name: "environment and arguments", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			add(spec, "createRuntime", specs.Hook{Path: "/usr/bin/env", Args: []string{"env", "sh", "-c", "env | sort | grep -v '^_='; pwd >&2; tr '\\0' ' ' </proc/$$/cmdline"}, Env: []string{"ONLY=this"}})
		}},
		{name: "deleted by force", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			add(spec, "poststop", say(tr, "poststop", "true"))
		}, script: `up; code rt delete -f "$ID"` + told},
		{name: "path missing", edit: func(spec *specs.Spec, tr *trial) { add(spec, "createRuntime", specs.Hook{Path: "/no/such/hook"}) }},
		{name: "path relative", edit: func(spec *specs.Spec, tr *trial) { add(spec, "createRuntime", specs.Hook{Path: "hook"}) }},
		{name: "timeout zero", edit: func(spec *specs.Spec, tr *trial) {
			add(spec, "createRuntime", specs.Hook{Path: "/bin/true", Timeout: ptr(0)})
		}},
	}
	for _, kind := range kinds {
		cases = append(cases, testCase{name: kind + " fails", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			add(spec, kind, say(tr, kind, "exit 3"))
			add(spec, kind, say(tr, kind, "true"))
			add(spec, "poststop", say(tr, "poststop", "true"))
		}, script: quietRun + told + "; rt list -q"})
	}
	for _, kind := range []string{"createRuntime", "createContainer", "poststart"} {
		cases = append(cases, testCase{name: kind + " takes too long", edit: func(spec *specs.Spec, tr *trial) {
			noted(spec, tr)
			hook := say(tr, kind, "exec sleep 5")
			hook.Timeout = ptr(1)
			add(spec, kind, hook)
		}, script: quietRun + "; rt list -q"})
	}
	return group{"hooks", "the six kinds of hooks: order, stdin, environment, failure and timeout", cases}
}
