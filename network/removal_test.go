package network_test

import (
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// TestWatchTellsWhatOthersRemove holds that what the Stack removes itself is no news, and that an interface is told of
// from either end.
func TestWatchTellsWhatOthersRemove(t *testing.T) {
	stack := networktest.OpenStack(t)
	removals := make(chan network.Removal, 16)
	stop, err := stack.Watch(func(r network.Removal) { removals <- r })
	if err != nil {
		t.Fatal(err)
	}
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16")
	networktest.AddBridge(t, stack, "back", "172.21.0.1/16")
	n := networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16")})
	for _, i := range []network.Interface{
		{Name: "eth1", Bridge: "back", Addresses: networktest.Prefixes("172.21.0.2/16")},
		{Name: "eth2", Bridge: "back", Addresses: networktest.Prefixes("172.21.0.3/16")},
	} {
		if err := stack.Attach(n, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := stack.Detach(n, "eth2"); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other", Index: 50}}); err != nil {
		t.Fatal(err)
	}
	networktest.Within(t, n, func() error { return deleteLink("eth0") })
	for _, name := range []string{"back", "other"} {
		if err := deleteLink(name); err != nil {
			t.Fatal(err)
		}
	}
	want := []network.Removal{{Namespace: n, Interface: "eth0"}, {Bridge: "back"}, {Interface: "other"}}
	var got []network.Removal
	for range want {
		select {
		case r := <-removals:
			got = append(got, r)
		case <-time.After(5 * time.Second):
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
