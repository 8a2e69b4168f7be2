package main

import (
	"slices"
	"sync"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// endings notes which containers ended, and decides whether that is the end of all.
// Safe for concurrent use.
type endings struct {
	plan *plan.Plan
	when abortWhen
	// from is the service whose code is the command's; empty: the one that ended all.
	from string
	// seen gets something after each end.
	seen chan struct{}

	mu       sync.Mutex
	over     bool // guarded by mu, as all below
	exitCode int
	fromCode *int
}

// see takes one event.
func (n *endings) see(e control.Event) {
	if e.Kind != control.EventExited || e.ExitCode == nil {
		return
	}
	n.mu.Lock()
	if n.from == e.Service {
		n.fromCode = e.ExitCode
	}
	if !n.over && n.ends(e.Service, *e.ExitCode) {
		n.over, n.exitCode = true, *e.ExitCode
	}
	n.mu.Unlock()
	select {
	case n.seen <- struct{}{}:
	default:
	}
}

// ends tells whether the end of a container ends all. One that will be started
// again does not, nor does a one-shot service that did what others waited for.
func (n *endings) ends(service string, code int) bool {
	at := slices.IndexFunc(n.plan.Services, func(s plan.Service) bool { return s.Name == service })
	if at < 0 || n.when == abortNever {
		return false
	}
	switch policy := n.plan.Services[at].Restart.Policy; {
	case policy == "always", policy == "unless-stopped", policy == "on-failure" && code != 0:
		return false
	case code != 0:
		return true
	}
	return n.when == abortOnExit && (service == n.from || !n.isOneShot(service))
}

// isOneShot tells whether others wait for the service's completion.
func (n *endings) isOneShot(service string) bool {
	return slices.ContainsFunc(n.plan.Services, func(s plan.Service) bool {
		return slices.ContainsFunc(s.DependsOn, func(d plan.Dependency) bool { return d.Service == service && d.Condition == plan.Completed })
	})
}

// isOver tells whether a container has ended all.
func (n *endings) isOver() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.over
}

// code is the command's exit code: that of the service that was named, else of the
// container that ended all.
func (n *endings) code() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.from == "" {
		return n.exitCode
	}
	if n.fromCode == nil {
		return commandline.ExitFailure
	}
	return *n.fromCode
}
