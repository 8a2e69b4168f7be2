package equivalence_test

import "github.com/opencontainers/runtime-spec/specs-go"

func pauseCases() group {
	const paused = `up; rt pause "$ID"; `
	return group{"pause", "pause, resume, ps, events and features", []testCase{
		{name: "pause", edit: idle(), script: `up; code rt pause "$ID"; status; limits | grep freezer; rt state "$ID" | shape; rt list -f json | grep -o '"status":"[a-z]*"'`},
		{name: "resume", edit: idle(), script: paused + `code rt resume "$ID"; status; limits | grep freezer`},
		{name: "pause twice", edit: idle(), script: paused + `code rt pause "$ID"; status`},
		{name: "resume what runs", edit: idle(), script: `up; code rt resume "$ID"; status`},
		{name: "pause created", script: created + `code rt pause "$ID"; status; rt resume "$ID"; status`},
		{name: "pause stopped", edit: idle(), script: killed + `code rt pause "$ID"; code rt resume "$ID"; status`},
		{name: "pause and resume unknown", script: `code rt pause no-such; code rt resume no-such; quietly rt pause; quietly rt resume a b`},
		{name: "exec while paused", edit: idle(), script: paused + `code rt exec "$ID" true; status`},
		{name: "exec while paused after all", edit: idle(), script: paused + `rt exec -d --ignore-paused "$ID" sleep 300 </dev/null >exec.out & sleep 0.5; status; code rt resume "$ID"; wait $!; echo $?`},
		{name: "kill while paused", edit: idle(), script: paused + `code rt kill "$ID" KILL; until_true has_status stopped; code rt delete "$ID"`},
		{name: "start while paused", edit: idle(), script: paused + `code rt start "$ID"; status`},
		{name: "delete while paused", edit: idle(), script: paused + `code rt delete "$ID"; status`},
		{name: "delete while paused by force", edit: idle(), script: paused + `code rt delete -f "$ID"; rt list -q`},
		{name: "update while paused", edit: idle(), script: paused + `code rt update --pids-limit 33 "$ID"; status; limits | grep pids`},
		{name: "ps", edit: program("workload", "signal"), script: `up; until_true grep -q ready up.out; rt ps "$ID" | sed 's/  */ /g' | cut -d ' ' -f 1,8-; rt ps "$ID" | wc -l`},
		{name: "ps as JSON", edit: idle(), script: `up; rt ps -f json "$ID" | shape; rt ps --format json "$ID" | tr -d '[]\n' | tr , '\n' | wc -w`},
		{name: "ps with options", edit: program("workload", "signal"), script: `up; until_true grep -q ready up.out; rt ps "$ID" -o pid,args | sed 's/[0-9][0-9]* /N /; s/  */ /g'`},
		{name: "ps with a long form", edit: program("workload", "signal"), script: `up; until_true grep -q ready up.out; rt ps "$ID" aux | sed 's/  */ /g' | cut -d ' ' -f 1,11-`},
		{name: "ps without the PID column", edit: idle(), script: `up; code rt ps "$ID" -o args`},
		{name: "ps in an unknown form", edit: idle(), script: `up; code rt ps -f yaml "$ID"`},
		{name: "ps of what stopped", edit: idle(), script: killed + `code rt ps "$ID"; code rt ps -f json "$ID"`},
		{name: "ps of what is created", script: created + `code rt ps -f json "$ID" | tr -d '0-9'`},
		{name: "ps unknown", script: `code rt ps no-such; quietly rt ps`},
		// runc leaves out the page cache where it is 0, which is chance.
		{name: "events once", edit: idle(), script: `up; rt events --stats "$ID" | shape | grep -v memory.cache; rt events --stats "$ID" | wc -l`},
		{name: "events once, who", edit: idle(), script: `up; rt events --stats "$ID" | grep -o '"type":"[a-z]*","id":"[^"]*"'; rt events --stats "$ID" | grep -c '"pids":{"current":[1-9]'`},
		{name: "events until the end", edit: idle(), script: `up; timeout 5 "$RUNTIME" --root "$STATE" events --interval 200ms "$ID" >seen & until_true test -s seen; rt kill "$ID" KILL; wait $!; echo $?; tail -1 seen | grep -c '"type":"stats"'`},
		{name: "features", script: `rt features >f; echo $?; shape f; cat f`},
		{name: "features and arguments", script: `quietly rt features x`},
		{name: "events of what stopped", edit: idle(), script: killed + `code rt events --stats "$ID"; code rt events "$ID"`},
		{name: "events unknown", script: `code rt events --stats no-such; code rt events --interval 0s no-such; quietly rt events --interval x no-such`},
	}}
}

func updateCases() group {
	update := func(name, commands string) testCase {
		return testCase{name: name, edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}
			spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}
			spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(50))}
		}, script: "up\n" + commands + "; limits"}
	}
	return group{"update", "update, with each limit and from a file", []testCase{
		update("nothing", `quietly rt update "$ID"`),
		update("memory", `code rt update --memory 100000000 "$ID"`),
		update("memory with a unit", `code rt update --memory 96M "$ID"`),
		update("memory below what is used", `code rt update --memory 4096 "$ID"`),
		update("memory and swap", `code rt update --memory 100000000 --memory-swap 150000000 "$ID"`),
		update("memory without end", `code rt update --memory -1 --memory-swap -1 "$ID"`),
		update("memory reservation", `code rt update --memory-reservation 32M "$ID"`),
		update("cpu quota and period", `code rt update --cpu-quota 20000 --cpu-period 50000 "$ID"`),
		update("cpu quota without end", `code rt update --cpu-quota -1 "$ID"`),
		update("cpu burst", `code rt update --cpu-burst 10000 "$ID"`),
		update("cpu shares", `code rt update --cpu-share 300 "$ID"`),
		update("cpu idle", `code rt update --cpu-idle 1 "$ID"`),
		update("cpuset", `code rt update --cpuset-cpus 0 --cpuset-mems 0 "$ID"`),
		update("cpuset of a CPU that is not there", `code rt update --cpuset-cpus 4000 "$ID"`),
		update("pids", `code rt update --pids-limit 77 "$ID"`),
		update("pids without end", `code rt update --pids-limit -1 "$ID"`),
		update("several, one after the other", `code rt update --pids-limit 77 "$ID"; code rt update --cpu-share 200 "$ID"`),
		update("from a file", `echo '{"memory":{"limit":90000000},"cpu":{"shares":400},"pids":{"limit":12}}' >r.json; code rt update -r r.json "$ID"`),
		update("from stdin", `echo '{"pids":{"limit":13}}' | code rt update --resources - "$ID"`),
		update("from a file and by flags", `echo '{"pids":{"limit":14}}' >r.json; code rt update -r r.json --pids-limit 15 "$ID"`),
		update("from a file that is no JSON", `echo '{' >r.json; code rt update -r r.json "$ID"`),
		update("from a file that is missing", `code rt update -r no/such "$ID"`),
		update("memory checked before", `echo '{"memory":{"limit":4096,"checkBeforeUpdate":true}}' | code rt update -r - "$ID"`),
		update("a number that is none", `code rt update --memory much "$ID"; code rt update --cpu-quota x "$ID"; code rt update --cpu-share -5 "$ID"`),
		update("an unknown flag", `quietly rt update --no-such 1 "$ID"`),
		{name: "created", script: created + `code rt update --pids-limit 9 "$ID"; limits | grep pids`},
		{name: "stopped", edit: idle(), script: killed + `code rt update --pids-limit 9 "$ID"`},
		{name: "unknown", script: `code rt update --pids-limit 9 no-such; quietly rt update`},
	}}
}
