package supervisor_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestANetworkThatIsTakenAwayIsToldOf(t *testing.T) {
	e := up(t, nil, svc("a", "sleep", "1h"), svc("b", "sleep", "1h"))
	e.waitPhase(control.Running)
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", e.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := network.OpenNamespace(file)
	if err != nil {
		t.Fatal(err)
	}
	defer networktest.Close(t, inside)
	remove := func(isIt func(netlink.Link) bool) {
		networktest.Within(t, inside, func() error {
			links, err := netlink.LinkList()
			if err != nil {
				return err
			}
			return netlink.LinkDel(links[slices.IndexFunc(links, isIt)])
		})
	}
	lost := func(instance string) string {
		return e.waitFor("network of "+instance, func(event control.Event) bool {
			return event.Kind == control.EventNetwork && event.Instance == instance
		}).Detail
	}

	// The first pair is of either.
	remove(func(l netlink.Link) bool { return l.Type() == "veth" })
	of := e.waitFor("network", func(event control.Event) bool { return event.Kind == control.EventNetwork }).Instance
	if got, want := lost(of), "its interface eth0 on network default was removed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	status, err := e.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range status.Instances {
		if is := slices.Equal(i.NetworkLost, []string{"default"}); is != (i.Name == of) {
			t.Errorf("%s has lost %q", i.Name, i.NetworkLost)
		}
	}
	remove(func(l netlink.Link) bool { return l.Type() == "bridge" })
	if got, want := lost(""), "network default was removed: its bridge br-default is gone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if status, err = e.client.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{of + ": its interface eth0 on network default was removed", "network default was removed: its bridge br-default is gone"}
	if !slices.Equal(status.NetworkLost, want) {
		t.Errorf("got %q, want %q", status.NetworkLost, want)
	}
	e.down()
	// The end of the environment's own making is no loss.
	if n := e.count("", control.EventNetwork) + e.count("a-1", control.EventNetwork) + e.count("b-1", control.EventNetwork); n != 2 {
		t.Errorf("%d losses were told of, want 2", n)
	}
}
