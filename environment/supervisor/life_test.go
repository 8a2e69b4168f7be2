package supervisor_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// needs is a dependency.
func needs(service string, condition plan.Condition) plan.Dependency {
	return plan.Dependency{Service: service, Condition: condition}
}

// before fails unless one event came before another.
func (e *env) before(instance string, kind control.EventKind, other string, otherKind control.EventKind) {
	e.t.Helper()
	if e.order(instance, kind) > e.order(other, otherKind) {
		e.t.Errorf("%s of %s came after %s of %s", kind, instance, otherKind, other)
	}
}

func TestTwoServicesComeUpResolveEachOtherAndStop(t *testing.T) {
	e := up(t, nil,
		svc("web", "http", ":8080"),
		after(shell("client", "getent hosts web && sleep 60"), needs("web", plan.Started)),
	)
	e.waitPhase(control.Running)
	address := e.plan.Services[0].Instances[0].Attachments[0].Addresses[0].String()
	e.waitOutput("client-1", address)
	e.down()
	e.before("web-1", control.EventStarted, "client-1", control.EventCreating)
	e.before("client-1", control.EventExited, "web-1", control.EventStopping)
}

func TestConditionsAreWaitedFor(t *testing.T) {
	web := svc("web", "http", ":8080")
	web.Ready = []plan.Probe{{Kind: plan.ProbeTCP, Port: 8080}, {Kind: plan.ProbeListen, Port: 8080}, {Kind: plan.ProbeHTTP, Port: 8080}}
	log := svc("log", "counter", "20ms")
	log.Ready = []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^3$"}}
	notify := svc("notify", "notify", "READY=1", "60s")
	notify.Ready = []plan.Probe{{Kind: plan.ProbeNotify}}
	e := up(t, nil,
		web, log, notify,
		after(svc("migrate", "sleep", "50ms"), needs("web", plan.Healthy), needs("log", plan.Healthy), needs("notify", plan.Healthy)),
		after(svc("api", "sleep", "60s"), needs("migrate", plan.Completed)),
	)
	e.waitPhase(control.Running)
	for _, first := range []string{"web-1", "log-1", "notify-1"} {
		e.before(first, control.EventReady, "migrate-1", control.EventCreating)
	}
	e.before("migrate-1", control.EventExited, "api-1", control.EventCreating)
	status, err := e.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.ReadyAt == nil || status.Phase != control.Running || len(status.Instances) != 5 {
		t.Errorf("status: %+v", status)
	}
	for _, i := range status.Instances {
		wantState := control.Up
		if i.Service == "migrate" {
			wantState = control.Exited
		} else if !i.Ready || len(i.Addresses["default"]) != 1 {
			t.Errorf("%s is ready: %v, addresses %v", i.Name, i.Ready, i.Addresses)
		}
		if i.State != wantState {
			t.Errorf("%s is %s, want %s", i.Name, i.State, wantState)
		}
	}
	stats, err := e.client.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range stats {
		if running := i.Service != "migrate"; (i.Stats != nil) != running {
			t.Errorf("%s has figures: %v", i.Name, i.Stats)
		}
	}
	e.down()
}

// failure waits until the environment has given up, and returns why.
func (e *env) failure() control.Failure {
	e.t.Helper()
	event := e.waitFor("a failure", func(event control.Event) bool { return event.Kind == control.EventFailure })
	e.waitPhase(control.Failed)
	e.waitEnd()
	return *event.Failure
}

func TestAFailingStartTellsServiceStageAndLastLines(t *testing.T) {
	probed := svc("main", "sleep", "60s")
	probed.Ready = []plan.Probe{{Kind: plan.ProbeTCP, Port: 80, Timeout: 100 * time.Millisecond}}
	sick := shell("main", "echo coming; sleep 60")
	sick.Healthcheck = &plan.Healthcheck{Command: []string{"/bin/sh", "-c", "echo ill; exit 3"}, Interval: 20 * time.Millisecond, Retries: 2}
	missing := svc("main", "true")
	missing.Sandbox.Entrypoint = []string{"/no/such"}
	hooked := svc("main", "sleep", "60s")
	hooked.PostStart = []plan.Hook{{Command: []string{"/workload", "exit", "4"}}}
	prepared := svc("main", "sleep", "60s")
	prepared.PreStart = []plan.Hook{{Command: []string{"/workload", "exit", "5"}}}
	oneShot := svc("main", "exit", "6")
	large, limit := svc("main", "hog", "256M"), int64(96<<20)
	large.Sandbox.Limits.MemoryBytes = &limit
	early := svc("main", "true")
	early.Ready = []plan.Probe{{Kind: plan.ProbeTCP, Port: 80}}
	tests := []struct {
		name    string
		service plan.ServiceRequest
		stage   string
		text    string
		lines   string
	}{
		{"exit", shell("main", "echo first; echo second; exit 3"), "exit", "code 3", "first second"},
		{"out of memory", large, "exit", "OOM killer", ""},
		{"probe", probed, "ready", "its time is over", ""},
		{"health", sick, "health", "2 checks: the last exited with code 3: ill", "coming"},
		{"program", missing, "start", "no such file", ""},
		{"post_start", hooked, "hook", "post_start[0]", ""},
		{"pre_start", prepared, "hook", "code 5", ""},
		{"one-shot", oneShot, "exit", "code 6", ""},
		{"ended before it was ready", early, "exit", "before it was ready", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// Both wait, so that the environment is still starting when the service ends.
			never := svc("never", "sleep", "60s")
			never.Ready = []plan.Probe{{Kind: plan.ProbeTCP, Port: 1}}
			services := []plan.ServiceRequest{test.service, never}
			if test.name == "one-shot" {
				services = []plan.ServiceRequest{test.service, after(svc("waits", "true"), needs("main", plan.Completed))}
			}
			e := up(t, nil, services...)
			f := e.failure()
			if f.Service != "main" || f.Stage != test.stage || !strings.Contains(f.Error, test.text) || strings.Join(f.LastLines, " ") != test.lines && test.stage != "start" {
				t.Errorf("failure %+v, want stage %s, %q, lines %q", f, test.stage, test.text, test.lines)
			}
		})
	}
}

func TestKeepOnFailureLeavesServicesUp(t *testing.T) {
	e := up(t, func(_ *plan.Draft, h *environment.Handover) { h.KeepOnFailure = true },
		svc("good", "sleep", "60s"), svc("bad", "exit", "3"), after(svc("waits", "sleep", "60s"), needs("bad", plan.Completed)))
	e.waitPhase(control.Failed)
	status, err := e.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.Failure == nil || status.Failure.Service != "bad" {
		t.Errorf("failure %+v", status.Failure)
	}
	e.waitEvent("good-1", control.EventStarted)
	e.down()
}

func TestRestartPolicies(t *testing.T) {
	crash := svc("crash", "exit", "7")
	crash.Restart = plan.Restart{Policy: "on-failure", MaxAttempts: 2}
	done := svc("done", "true")
	done.Restart = plan.Restart{Policy: "on-failure"}
	always := svc("always", "true")
	always.Restart = plan.Restart{Policy: "always"}
	// Last, so that its end does not come while the environment starts.
	crash = after(crash, needs("done", plan.Started), needs("always", plan.Started), needs("other", plan.Started))
	e := up(t, nil, crash, done, always, svc("other", "sleep", "60s"))
	e.waitPhase(control.Running)
	e.waitFor("the third end of crash", func(event control.Event) bool {
		return event.Kind == control.EventExited && event.Instance == "crash-1" && e.count("crash-1", control.EventExited) == 3
	})
	e.waitFor("the third end of always", func(event control.Event) bool {
		return event.Kind == control.EventExited && event.Instance == "always-1" && e.count("always-1", control.EventExited) >= 3
	})
	e.down()
	if n := e.count("crash-1", control.EventRestart); n != 2 {
		t.Errorf("crash was started again %d times", n)
	}
	if n := e.count("done-1", control.EventRestart); n != 0 {
		t.Errorf("done was started again %d times", n)
	}
	report := e.report("crash-1")
	if len(report.Starts) != 3 || report.Restarts != 2 || report.Starts[0].ExitCode != 7 {
		t.Errorf("report %+v", report)
	}
}

func TestAServiceIsStartedAgainWithItsDependency(t *testing.T) {
	database := shell("database", "sleep 0.3; exit 1")
	database.Restart = plan.Restart{Policy: "always", Delay: 10 * time.Millisecond}
	dependency := needs("database", plan.Started)
	dependency.Restart = true
	e := up(t, nil, database, after(svc("api", "sleep", "60s"), dependency), after(svc("other", "sleep", "60s"), needs("database", plan.Started)))
	e.waitPhase(control.Running)
	e.waitFor("the second start of api", func(event control.Event) bool {
		return event.Kind == control.EventStarted && event.Instance == "api-1" && e.count("api-1", control.EventStarted) == 2
	})
	e.down()
	if n := e.count("other-1", control.EventStarted); n != 1 {
		t.Errorf("a service that did not ask for it was started %d times", n)
	}
}

func TestOptionalDependencies(t *testing.T) {
	optional := needs("missing", plan.Completed)
	optional.Optional = true
	e := up(t, nil, svc("missing", "exit", "1"), after(svc("main", "sleep", "60s"), optional))
	e.waitPhase(control.Running)
	e.before("missing-1", control.EventExited, "main-1", control.EventCreating)
	e.down()
}

func TestStopIsInReverseAndHoldsItsGrace(t *testing.T) {
	stubborn := svc("stubborn", "signal")
	stubborn.StopGrace = 300 * time.Millisecond
	stubborn.StopSignal = "SIGUSR1"
	quick := svc("quick", "signal", "trap", "QUIT", "exit", "5")
	quick.StopSignal = "SIGQUIT"
	ready := []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^ready$"}}
	stubborn.Ready, quick.Ready = ready, ready
	e := up(t, nil, quick, after(stubborn, needs("quick", plan.Healthy)), after(svc("last", "sleep", "60s"), needs("stubborn", plan.Healthy)))
	e.waitPhase(control.Running)
	e.down()
	e.before("last-1", control.EventExited, "stubborn-1", control.EventStopping)
	e.before("stubborn-1", control.EventExited, "quick-1", control.EventStopping)
	if code := e.exitCode("stubborn-1"); code != 137 {
		t.Errorf("stubborn ended with %d", code)
	}
	if code := e.exitCode("quick-1"); code != 5 {
		t.Errorf("quick ended with %d", code)
	}
	if !strings.Contains(e.output("stubborn-1"), "SIGUSR1") {
		t.Errorf("stubborn was not asked: %s", e.output("stubborn-1"))
	}
}

func TestASecondStopDoesNotWait(t *testing.T) {
	stubborn := svc("stubborn", "signal")
	stubborn.StopGrace = time.Hour
	stubborn.Ready = []plan.Probe{{Kind: plan.ProbeLog, Pattern: "^ready$"}}
	e := up(t, nil, stubborn)
	e.waitPhase(control.Running)
	for range 2 {
		if err := e.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		e.waitPhase(control.Stopping)
	}
	e.waitEnd()
}

func TestWhatEndsAnEnvironment(t *testing.T) {
	tests := []struct {
		name string
		end  func(*env)
		want string
	}{
		{"SIGTERM", func(e *env) { e.command.Process.Signal(syscall.SIGTERM) }, "SIGTERM"}, //nolint:errcheck // seen by the end
		{"the parent's death", func(e *env) { e.lifeline.Close() }, "parent-died"},
		{"its time to live", func(*env) {}, "ttl"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := up(t, func(d *plan.Draft, _ *environment.Handover) {
				if test.want == "ttl" {
					d.Plan.TTL = time.Second
				}
			}, svc("main", "sleep", "60s"))
			e.waitPhase(control.Running)
			test.end(e)
			e.waitEnd()
			event := e.waitFor("the stop", func(event control.Event) bool { return event.Phase == control.Stopping })
			if event.Detail != test.want {
				t.Errorf("stopped for %q", event.Detail)
			}
		})
	}
}

func TestAStopDuringTheStart(t *testing.T) {
	const ms = time.Millisecond
	for _, delay := range []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms, 60 * ms, 80 * ms, 100 * ms, 150 * ms} {
		t.Run(delay.String(), func(t *testing.T) {
			e := up(t, nil, svc("one", "sleep", "60s"), svc("two", "sleep", "60s"), after(svc("three", "sleep", "60s"), needs("one", plan.Started)))
			<-time.After(delay)
			e.down()
		})
	}
}
