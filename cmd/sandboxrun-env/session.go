package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// session is an environment that this process brought up and watches until it
// ends. Its methods are safe for concurrent use.
type session struct {
	inv      *invocation
	plan     *plan.Plan
	launched *broughtUp
	paths    environment.Paths
	client   *control.Client
	live     *live

	watching sync.WaitGroup
	// gone is closed when the environment has ended and all its events were seen.
	gone chan struct{}

	mu       sync.Mutex
	changed  chan struct{} // guarded by mu; closed and replaced with each event
	phase    control.Phase // guarded by mu, as all below
	failure  *control.Failure
	stopped  string   // why it was stopped, in the supervisor's words
	lost     []string // what somebody has taken away of its network
	reports  map[string][]json.RawMessage
	onEvent  func(control.Event)
	watchErr error
	stopping bool
}

// watch begins to follow the events of an environment. finish ends it.
func (inv *invocation) watch(ctx context.Context, p *plan.Plan, launched *broughtUp, l *live, onEvent func(control.Event)) *session {
	s := &session{
		inv: inv, plan: p, launched: launched, paths: launched.Record.Paths(), client: launched.Client, live: l, gone: make(chan struct{}), changed: make(chan struct{}),
		reports: map[string][]json.RawMessage{}, onEvent: onEvent,
	}
	s.watching.Go(func() {
		defer close(s.gone)
		err := s.client.Watch(ctx, func(e control.Event) error {
			s.see(e)
			return nil
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		if !errors.Is(err, control.ErrNotRunning) {
			s.watchErr = err
		}
	})
	if l.width > 0 {
		s.watching.Go(s.animate)
	}
	return s
}

// animate moves the times on the terminal.
func (s *session) animate() {
	tick := time.NewTicker(redrawInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.live.tick(now)
		case <-s.gone:
			return
		}
	}
}

// see takes one event.
func (s *session) see(e control.Event) {
	s.live.note(e)
	s.mu.Lock()
	switch e.Kind {
	case control.EventPhase:
		s.phase = e.Phase
		if e.Phase == control.Stopping {
			s.stopped = e.Detail
		}
	case control.EventFailure:
		if s.failure == nil {
			s.failure = e.Failure
		}
	case control.EventNetwork:
		s.lost = append(s.lost, strings.TrimPrefix(e.Instance+": "+e.Detail, ": "))
	case control.EventExited:
		if len(e.Report) > 0 {
			s.reports[e.Instance] = append(s.reports[e.Instance], e.Report)
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if s.onEvent != nil {
		s.onEvent(e)
	}
}

// Why an environment is not there to be used.
var (
	errStartFailed = errors.New("the environment did not come up")
	errGone        = errors.New("the environment has ended")
)

// await waits until reached says so, which is asked after each event. It returns
// errStartFailed when the start failed, errGone when the environment ended, and
// ctx's cause.
func (s *session) await(ctx context.Context, reached func() bool) error {
	for {
		s.mu.Lock()
		changed, phase, failure := s.changed, s.phase, s.failure
		s.mu.Unlock()
		if failure != nil && phase != control.Running {
			return errStartFailed
		}
		if reached() {
			return nil
		}
		if s.isEnding() {
			return errGone
		}
		select {
		case <-changed:
		case <-s.gone:
			return errGone
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isReady tells whether every service was ready.
func (s *session) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == control.Running
}

// isEnding tells whether the environment is being stopped, by whomever.
func (s *session) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == control.Stopping || s.phase == control.Stopped
}

// isStarted tells whether every container was started at least once.
func (s *session) isStarted() bool {
	s.live.mu.Lock()
	started := s.live.times.allStarted()
	s.live.mu.Unlock()
	return started || s.isReady()
}

// stop asks the environment to end and returns at once. A second one shortens the
// grace.
func (s *session) stop(r control.StopRequest) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.watching.Go(func() {
		// The events come by the watch, and that it has ended by its end.
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-s.gone:
			case <-ctx.Done():
			}
			cancel()
		}()
		err := s.client.Stop(ctx, r, nil)
		if err != nil && ctx.Err() == nil && !errors.Is(err, control.ErrNotRunning) {
			s.inv.log.Warn("cannot stop the environment", "error", err)
		}
	})
}

// endTimeout is how long a supervisor may take to end when it has said its last.
const endTimeout = 10 * time.Second

// finish waits until the environment has ended, and its supervisor with it.
func (s *session) finish() {
	<-s.gone
	s.watching.Wait()
	s.live.settleNow()
	select {
	case <-s.launched.Done():
	case <-time.After(endTimeout):
		s.inv.log.Warn("the supervisor does not end and is killed", "environment", s.plan.Name)
		s.launched.Kill()
	}
}

// leave ends the watch of an environment that goes on.
func (s *session) leave(stop context.CancelFunc) {
	stop()
	<-s.gone
	s.watching.Wait()
	s.live.settleNow()
}

// reason tells how the start failed; nil if it did not.
func (s *session) reason() *control.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// lostNetwork is the error about a network that somebody has taken away; nil without.
func (s *session) lostNetwork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lost) == 0 {
		return nil
	}
	return fmt.Errorf("the network of environment %q was taken away by somebody else: %s", s.plan.Name, strings.Join(s.lost, "; "))
}

// allEnded tells whether no container runs or will run again.
func (s *session) allEnded(ctx context.Context) bool {
	status, err := answered(ctx, s.client.Status)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(status.Instances, func(i control.InstanceStatus) bool { return i.State != control.Exited })
}

// report puts together what is known at the end.
func (s *session) report(ended time.Time) *report {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	r := makeReport(s.plan, s.live.times, s.reports, ended)
	r.Failure, r.ImagesSeconds, r.LaunchSeconds = s.failure, s.launched.images.Seconds(), s.launched.launch.Seconds()
	return r
}
