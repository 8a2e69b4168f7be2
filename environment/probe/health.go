package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// HealthState is what checks make of an instance.
type HealthState string

// The states, as docker calls them.
const (
	HealthStarting  HealthState = "starting"
	HealthHealthy   HealthState = "healthy"
	HealthUnhealthy HealthState = "unhealthy"
)

// The Compose specification's defaults, where a Healthcheck says nothing.
const (
	defaultInterval      = 30 * time.Second
	defaultCheckTimeout  = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
)

// maxOutput is how much of the end of a check's output is kept.
const maxOutput = 4 << 10

// The first pause between early checks, and how it grows: a service that gets
// well after a time t is seen at most t/2 later, by some ten checks in all.
const firstEarlyPause = 50 * time.Millisecond

// Execute runs a command in the container, writes its standard output and error
// to output, and returns its exit code once it has ended. When ctx ends it kills
// the command and returns at once. An error is when it could not be run, or was killed.
type Execute func(ctx context.Context, command []string, output *Tail) (code int, err error)

// CheckResult is how one check ended.
type CheckResult struct {
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"`
	// ExitCode is -1 where there is none: the check was killed or could not be run. Error says why.
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
	// Output is the end of what the check wrote, at most 4 KiB.
	Output string `json:"output,omitempty"`
}

// HealthStatus is a snapshot.
type HealthStatus struct {
	State HealthState `json:"state"`
	// Failures in a row that count.
	Failures int `json:"failures"`
	// Last is null before the first check has ended.
	Last *CheckResult `json:"last"`
}

// Health runs a healthcheck during one run of one instance. A restart needs a
// new one.
//
// A check that counts runs when docker would run it: an interval after the
// start or after the check before, start_interval within start_period;
// failures within start_period do not count. While the instance is starting,
// there are early checks in between, the first at once: their success counts
// and their failure does not, so that a service is seen healthy soon and never
// unhealthy sooner than by docker. An early check that is still running when
// one that counts is due is killed.
type Health struct {
	check   plan.Healthcheck
	execute Execute
	changed func(HealthStatus)

	mu     sync.Mutex
	status HealthStatus // guarded by mu
}

// NewHealth takes a check, what runs it, and what is to be told of each change
// of state: changed is called from Run, and the next check waits for it.
func NewHealth(check plan.Healthcheck, execute Execute, changed func(HealthStatus)) *Health {
	check.Interval = cmp.Or(check.Interval, defaultInterval)
	check.Timeout = cmp.Or(check.Timeout, defaultCheckTimeout)
	check.StartInterval = cmp.Or(check.StartInterval, defaultStartInterval)
	check.Retries = cmp.Or(check.Retries, defaultRetries)
	return &Health{check: check, execute: execute, changed: changed, status: HealthStatus{State: HealthStarting}}
}

// Status returns a snapshot. It is safe for concurrent use.
func (h *Health) Status() HealthStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

// Run checks from now on, which has to be the container's start, until ctx
// ends. Two checks never run at once, and none runs when it returns.
func (h *Health) Run(ctx context.Context) {
	start := time.Now()
	due := start.Add(h.interval(0)) // of the next check that counts
	pause := firstEarlyPause
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		counts := !began.Before(due)
		limit := began.Add(h.check.Timeout)
		if !counts && due.Before(limit) {
			limit = due // an early check must not be in the way of one that counts
		}
		result := h.once(ctx, limit)
		if ctx.Err() != nil {
			return // the container's end, not the check's
		}
		inPeriod := began.Sub(start) < h.check.StartPeriod
		h.judge(result, counts, inPeriod)

		now := time.Now()
		if counts {
			due = now.Add(h.interval(now.Sub(start)))
		}
		next := due
		if h.Status().State == HealthStarting {
			if early := now.Add(pause); early.Before(due) {
				next = early
			}
			pause += pause / 2
		}
		timer.Reset(next.Sub(now))
	}
}

// interval is the time to the next check that counts, at a time after the start.
func (h *Health) interval(after time.Duration) time.Duration {
	if after < h.check.StartPeriod && h.Status().State == HealthStarting {
		return h.check.StartInterval
	}
	return h.check.Interval
}

// once runs one check to its end or to limit.
func (h *Health) once(ctx context.Context, limit time.Time) CheckResult {
	limited, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	var output Tail
	start := time.Now()
	code, err := h.execute(limited, h.check.Command, &output)
	result := CheckResult{Start: start, Duration: time.Since(start), ExitCode: code, Output: output.String()}
	switch {
	case errors.Is(limited.Err(), context.DeadlineExceeded) && (err != nil || code != 0):
		result.ExitCode, result.Error = -1, fmt.Sprintf("the check had not ended after %v and was killed", limit.Sub(start).Round(time.Millisecond))
	case err != nil:
		result.ExitCode, result.Error = -1, err.Error()
	}
	return result
}

// judge takes a result into the status and tells of a change of state.
func (h *Health) judge(result CheckResult, counts, inStartPeriod bool) {
	h.mu.Lock()
	before := h.status.State
	h.status.Last = &result
	switch {
	case result.ExitCode == 0:
		h.status.State, h.status.Failures = HealthHealthy, 0
	case before == HealthStarting && (inStartPeriod || !counts):
	default:
		h.status.Failures++
		if h.status.Failures >= h.check.Retries {
			h.status.State = HealthUnhealthy
		}
	}
	status := h.status
	h.mu.Unlock()
	if status.State != before {
		h.changed(status)
	}
}

// Tail keeps the end of what is written to it, 4 KiB. It is safe for concurrent
// use; the zero value is ready.
type Tail struct {
	mu    sync.Mutex
	bytes []byte // guarded by mu; at most twice maxOutput
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := p[max(0, len(p)-maxOutput):]
	if len(t.bytes)+len(kept) > 2*maxOutput {
		t.bytes = t.bytes[:copy(t.bytes, t.bytes[max(0, len(t.bytes)-maxOutput):])]
	}
	t.bytes = append(t.bytes, kept...)
	return len(p), nil
}

// String returns what is kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.bytes[max(0, len(t.bytes)-maxOutput):])
}
