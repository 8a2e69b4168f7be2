package supervisor_test

import (
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestTwoServicesComeUpResolveEachOtherAndStop(t *testing.T) {
	e := up(t, nil,
		svc("web", "http", ":8080"),
		after(shell("client", "getent hosts web && sleep 60"), plan.Dependency{Service: "web", Condition: plan.Started}),
	)
	e.waitPhase(control.Running)
	address := e.plan.Services[0].Instances[0].Attachments[0].Addresses[0].String()
	e.waitOutput("client-1", address)
	if e.order("web-1", control.EventStarted) > e.order("client-1", control.EventCreating) {
		t.Error("the client did not wait for what it depends on")
	}
	e.down()
	if e.order("client-1", control.EventExited) > e.order("web-1", control.EventStopping) {
		t.Error("what the client depends on was stopped before the client")
	}
}
