package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

// TestANetworkThatWasTakenAwayIsTold is about what is shown of it: where it happens, in
// the table, and beside an error that it may be the cause of.
func TestANetworkThatWasTakenAwayIsTold(t *testing.T) {
	events := []control.Event{
		{At: start(), Kind: control.EventNetwork, Detail: "network default was removed: its bridge br-default is gone"},
		{At: start(), Kind: control.EventNetwork, Service: "api", Instance: "api-1", Detail: "its interface eth0 on network default was removed"},
	}
	for _, width := range []int{0, 80} {
		var out bytes.Buffer
		show := newLive(&out, "shop", newTimeline(shop(), start()), false, false)
		show.width = width
		s := &session{inv: &invocation{streams: stdio{err: &out}}, plan: shop(), live: show, changed: make(chan struct{})}
		if err := s.lostNetwork(); err != nil {
			t.Errorf("nothing is lost yet: %v", err)
		}
		for _, e := range events {
			s.see(e)
		}
		for _, want := range []string{"0.000s network default was removed: its bridge br-default is gone\n", "0.000s api-1     its interface eth0 on network default was removed\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("width %d: %q lacks %q", width, out.String(), want)
			}
		}
		const cause = `the network of environment "shop" was taken away by somebody else: ` +
			`network default was removed: its bridge br-default is gone; api-1: its interface eth0 on network default was removed`
		if err := s.lostNetwork(); err == nil || err.Error() != cause {
			t.Errorf("got %v, want %s", err, cause)
		}
		s.failure = &control.Failure{Service: "api", Stage: "ready", Error: "connection refused"}
		for _, err := range []error{errNotReady, errStartFailed} {
			if got := s.inv.startError(s, err); !strings.Contains(got.Error(), cause) || errors.Is(err, errNotReady) != errors.Is(got, errNotReady) {
				t.Errorf("the start's error %q does not tell the cause", got)
			}
		}
	}
	status := control.InstanceStatus{State: control.Up, Ready: true, NetworkLost: []string{"default", "back"}}
	if got, want := statusText(status, start()), "running (ready) (network default, back lost)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
