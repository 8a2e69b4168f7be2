package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

// startError says why it did not come up: what the service printed last on lines of
// its own, and the reason as the error.
func (inv *invocation) startError(s *session, err error) error {
	failure := s.reason()
	switch {
	case errors.Is(err, errNotReady):
		return errors.Join(fmt.Errorf("environment %q is %w", s.plan.Name, err), s.lostNetwork())
	case failure != nil:
		s.live.settleNow()
		inv.printLastLines(failure)
		return errors.Join(failureError(s.plan.Name, failure), s.lostNetwork())
	case errors.Is(err, errGone), errors.Is(err, errStartFailed):
		return fmt.Errorf("environment %q has ended before it was told to: %s", s.plan.Name, s.ending())
	}
	return err
}

// lastWords is how long the supervisor may take to end after its last event.
const lastWords = time.Second

// ending says why the environment has ended by itself.
func (s *session) ending() string {
	s.mu.Lock()
	reason := s.stopped
	s.mu.Unlock()
	switch reason {
	case "down":
		return "it was taken down by another command"
	case "ttl":
		return "its time to live is over"
	case "":
	default:
		return "it was stopped (" + reason + ")"
	}
	select {
	case <-s.launched.Done():
	case <-time.After(lastWords):
	}
	if err := s.launched.Err(); err != nil {
		return "its supervisor has died (" + err.Error() + ")"
	}
	return "its supervisor has gone"
}

func (inv *invocation) printLastLines(f *control.Failure) {
	if len(f.LastLines) == 0 {
		return
	}
	fmt.Fprintf(inv.streams.err, "the last lines of %s:\n", f.Service)
	for _, line := range f.LastLines {
		fmt.Fprintf(inv.streams.err, "  | %s\n", line)
	}
}

// failureError says in one line which service failed at what.
func failureError(name string, f *control.Failure) error {
	if f.Service == "" {
		return fmt.Errorf("environment %q did not come up: %s", name, f.Error)
	}
	stage := map[string]string{
		"image": "has no root filesystem", "create": "could not be made", "start": "could not be started", "ready": "did not become ready",
		"health": "is not healthy", "hook": "has a hook that failed", "exit": "has ended",
	}[f.Stage]
	if stage == "" {
		stage = "failed (" + f.Stage + ")"
	}
	return fmt.Errorf("environment %q did not come up: service %q %s: %s", name, f.Service, stage, strings.TrimPrefix(f.Error, "service "+f.Service+": "))
}

// pending says which containers are not ready, and what they do.
func (s *session) pending() string {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	var parts []string
	for _, l := range s.live.times.lines {
		if l.mark() != markDone {
			text, _ := l.now()
			parts = append(parts, fmt.Sprintf("%s is %s", l.instance, text))
		}
	}
	if len(parts) == 0 {
		return "everything is started"
	}
	return strings.Join(parts, ", ")
}
