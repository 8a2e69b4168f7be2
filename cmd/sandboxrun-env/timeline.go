package main

import (
	"slices"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// timeline notes when each instance got where. It is made of events and is not
// safe for concurrent use.
type timeline struct {
	// began is when the command line was read, or the environment's own start.
	began time.Time
	phase control.Phase
	ready *time.Time
	// lines are in the order of the plan; instances that the plan does not know follow.
	lines []*instanceLine
}

// instanceLine is what is known of one instance. The times are of its first start;
// nil ones have not come.
type instanceLine struct {
	service, instance                   string
	waiting, creating, started, ready   *time.Time
	waitsFor, health, failure, lastHook string
	ended                               *time.Time
	exitCode                            *int
	restarts                            int
	stopping                            bool
}

func newTimeline(p *plan.Plan, began time.Time) *timeline {
	t := &timeline{began: began, phase: control.Starting}
	for _, s := range p.Services {
		for _, i := range s.Instances {
			t.lines = append(t.lines, &instanceLine{service: s.Name, instance: i.Name})
		}
	}
	return t
}

func (t *timeline) line(e control.Event) *instanceLine {
	at := slices.IndexFunc(t.lines, func(l *instanceLine) bool { return l.instance == e.Instance })
	if at < 0 {
		t.lines = append(t.lines, &instanceLine{service: e.Service, instance: e.Instance})
		at = len(t.lines) - 1
	}
	return t.lines[at]
}

// note takes one event, in order of time.
func (t *timeline) note(e control.Event) {
	if e.Kind == control.EventPhase {
		t.phase = e.Phase
		if e.Phase == control.Running && t.ready == nil {
			t.ready = &e.At
		}
		return
	}
	if e.Instance == "" {
		return
	}
	l := t.line(e)
	first := func(at **time.Time) {
		if *at == nil {
			*at = &e.At
		}
	}
	switch e.Kind {
	case control.EventWaiting:
		first(&l.waiting)
		l.waitsFor = e.Detail
	case control.EventCreating:
		first(&l.creating)
	case control.EventStarted:
		first(&l.started)
		l.ended, l.exitCode = nil, nil
	case control.EventReady:
		first(&l.ready)
	case control.EventHealth:
		l.health = e.Detail
	case control.EventHook:
		l.lastHook = e.Detail
	case control.EventStopping:
		l.stopping = true
	case control.EventExited:
		l.ended, l.exitCode = &e.At, e.ExitCode
	case control.EventRestart:
		l.restarts++
	case control.EventFailure:
		if e.Failure != nil {
			l.failure = e.Failure.Stage
		}
	}
}

// allStarted tells whether every instance was started at least once.
func (t *timeline) allStarted() bool {
	return !slices.ContainsFunc(t.lines, func(l *instanceLine) bool { return l.started == nil })
}

// since is the time from the beginning to at.
func (t *timeline) since(at time.Time) time.Duration { return max(0, at.Sub(t.began)) }

// stages are how long an instance took from one time to the next; nil ones did
// not end.
type stages struct {
	wait, create, ready *time.Duration
}

func (l *instanceLine) stages() stages {
	span := func(from, to *time.Time) *time.Duration {
		if from == nil || to == nil {
			return nil
		}
		d := max(0, to.Sub(*from))
		return &d
	}
	return stages{wait: span(l.waiting, l.creating), create: span(l.creating, l.started), ready: span(l.started, l.ready)}
}

// slow is a stage of an instance that the environment waited for.
type slow struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	// Stage is create or ready, as in a Failure; complete for a one-shot service.
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
}

// critical returns the stages that the start waited for, the first one first: from
// the instance that was ready last back through the dependency that let it go on
// last.
func (t *timeline) critical(p *plan.Plan) []slow {
	var path []slow
	at := t.last(t.lines)
	for seen := map[string]bool{}; at != nil && !seen[at.instance]; {
		seen[at.instance] = true
		s := at.stages()
		switch {
		case s.ready != nil:
			path = append(path, slow{at.service, at.instance, "ready", s.ready.Seconds()})
		case at.started != nil && at.ended != nil:
			path = append(path, slow{at.service, at.instance, "complete", at.ended.Sub(*at.started).Seconds()})
		}
		if s.create != nil {
			path = append(path, slow{at.service, at.instance, "create", s.create.Seconds()})
		}
		at = t.last(t.dependencies(p, at.service))
	}
	slices.Reverse(path)
	return path
}

// last is the one of lines that was ready, or else done, last.
func (*timeline) last(lines []*instanceLine) *instanceLine {
	var found *instanceLine
	for _, l := range lines {
		if l.settled() != nil && (found == nil || l.settled().After(*found.settled())) {
			found = l
		}
	}
	return found
}

// settled is when others could go on.
func (l *instanceLine) settled() *time.Time {
	switch {
	case l.ready != nil:
		return l.ready
	case l.ended != nil:
		return l.ended
	}
	return l.started
}

func (t *timeline) dependencies(p *plan.Plan, service string) []*instanceLine {
	at := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Name == service })
	if at < 0 {
		return nil
	}
	var found []*instanceLine
	for _, d := range p.Services[at].DependsOn {
		for _, l := range t.lines {
			if l.service == d.Service {
				found = append(found, l)
			}
		}
	}
	return found
}

// slowest is the longest of path; nil without any.
func slowest(path []slow) *slow {
	if len(path) == 0 {
		return nil
	}
	longest := slices.MaxFunc(path, func(a, b slow) int { return int((a.Seconds - b.Seconds) * 1e9) })
	return &longest
}
