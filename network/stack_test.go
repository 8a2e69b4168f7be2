package network_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// TestEnvironmentsHaveEqualAddressesSideBySide makes two environments of the same names and addresses.
func TestEnvironmentsHaveEqualAddressesSideBySide(t *testing.T) {
	var services [2]*network.Namespace
	for i := range services {
		home := networktest.NewNamespace(t)
		var stack *network.Stack
		networktest.Within(t, home, func() (err error) {
			stack, err = network.Open()
			return err
		})
		t.Cleanup(func() { networktest.Close(t, stack) })
		networktest.AddBridge(t, stack, "front", "172.20.0.1/16")
		services[i] = networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16")})
		networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.3/16")})
		serve(t, services[i], "172.20.0.2:80", fmt.Sprint("environment ", i))
		if got, err := networktest.Ask(t.Context(), home, "172.20.0.2:80"); got != fmt.Sprint("environment ", i) || err != nil {
			t.Errorf("environment %d got %q, %v", i, got, err)
		}
	}
}

func TestFiftyServicesAtOnce(t *testing.T) {
	const count = 50
	stack := networktest.OpenStack(t)
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	var services [count]*network.Namespace
	var errs [count]error
	var running sync.WaitGroup
	for i := range count {
		running.Go(func() {
			if services[i], errs[i] = network.NewNamespace(); errs[i] != nil {
				return
			}
			errs[i] = stack.Attach(services[i], network.Interface{
				Name: "eth0", Bridge: "front",
				Addresses: networktest.Prefixes(fmt.Sprintf("172.20.1.%d/16", i+1), fmt.Sprintf("fd00:20::1:%d/64", i+1)),
			})
		})
	}
	running.Wait()
	for i, n := range services {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		defer n.Close()
	}
	serve(t, services[count-1], "172.20.1.50:80", "here")
	for _, n := range services {
		if got, err := networktest.Ask(t.Context(), n, "172.20.1.50:80"); got != "here" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestNetworksAreApart(t *testing.T) {
	networktest.Enter(t)
	// What a host that routes would hand down.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	stack, err := network.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer stack.Close()
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16")
	networktest.AddBridge(t, stack, "back", "172.21.0.1/16")
	front := networktest.NewNamespace(t)
	back := networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "back", Addresses: networktest.Prefixes("172.21.0.2/16")})
	// Each knows a way to the other, if only it were one.
	if err := stack.Attach(front, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16"), Gateways: []netip.Addr{netip.MustParseAddr("172.20.0.1")},
	}); err != nil {
		t.Fatal(err)
	}
	serve(t, back, "172.21.0.2:80", "back")
	if err := stack.Attach(front, network.Interface{Name: "eth1", Bridge: "back", Addresses: networktest.Prefixes("172.21.0.3/16")}); err != nil {
		t.Fatal(err)
	}
	if got, err := networktest.Ask(t.Context(), front, "172.21.0.2:80"); got != "back" || err != nil {
		t.Fatalf("on both networks: got %q, %v", got, err)
	}
	if err := stack.Detach(front, "eth1"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := briefly(t)
	defer cancel()
	if got, err := networktest.Ask(ctx, front, "172.21.0.2:80"); err == nil {
		t.Errorf("on one network alone: got %q from the other", got)
	}
}

func TestDetachTakesWhatIsThere(t *testing.T) {
	stack := networktest.OpenStack(t)
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16")
	i := network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16")}
	n := networktest.AddService(t, stack, i)
	for range 2 {
		if err := stack.Detach(n, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	if got := links(t, n); got != "lo" {
		t.Errorf("interfaces %s are left", got)
	}
	// Again with the same names and addresses, as an instance that is started again.
	if err := stack.Attach(n, i); err != nil {
		t.Fatal(err)
	}
	if got := links(t, n); got != "lo eth0" {
		t.Errorf("got interfaces %s", got)
	}
	if err := stack.Detach(n, "eth7"); err != nil {
		t.Errorf("an interface that never was: %v", err)
	}
	// Gone without us.
	networktest.Within(t, n, func() error { return deleteLink("eth0") })
	if err := stack.Detach(n, "eth0"); err != nil {
		t.Errorf("an interface that is gone: %v", err)
	}
}

func TestAttachThatFailsLeavesNothing(t *testing.T) {
	stack := networktest.OpenStack(t)
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16")
	n := networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16")})
	before := hostLinks(t)
	for name, i := range map[string]network.Interface{
		"the name twice": {Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.3/16")},
		"a second default route": {
			Name: "eth1", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.3/16"), Gateways: []netip.Addr{netip.MustParseAddr("172.20.0.1")},
		},
	} {
		if name == "a second default route" {
			first := i
			first.Name, first.Addresses = "eth2", networktest.Prefixes("172.20.0.4/16")
			if err := stack.Attach(n, first); err != nil {
				t.Fatal(err)
			}
			before = hostLinks(t)
		}
		if err := stack.Attach(n, i); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "attach interface") {
			t.Errorf("%s: got %v, want %v", name, err, unix.EEXIST)
		}
		if after := hostLinks(t); after != before {
			t.Errorf("%s: interfaces were %s and are %s", name, before, after)
		}
	}
	if err := stack.AddBridge(network.Bridge{Name: "front"}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a bridge twice: got %v", err)
	}
	serve(t, n, "172.20.0.2:80", "still here")
	if got, err := askHere("172.20.0.2:80"); got != "still here" || err != nil {
		t.Errorf("after all that the service says %q, %v", got, err)
	}
}

func TestWhatCannotBeMade(t *testing.T) {
	address := func(texts ...string) []netip.Prefix { return networktest.Prefixes(texts...) }
	gateway := func(text string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(text)} }
	for _, tt := range []struct {
		i    network.Interface
		want string
	}{
		{network.Interface{Name: "eth0", Addresses: address("172.20.0.2/16", "fd00::2/64"), Gateways: gateway("172.20.0.1")}, ""},
		{network.Interface{Name: "eth0", Addresses: address("10.0.0.0/31")}, ""},
		{network.Interface{Name: "eth0", Addresses: address("10.0.0.0/32")}, ""},
		{network.Interface{Name: ""}, "it is empty"},
		{network.Interface{Name: "an-interface-too-long"}, "take at most 15"},
		{network.Interface{Name: "eth 0"}, "take letters"},
		{network.Interface{Name: "../x"}, "take letters"},
		{network.Interface{Name: "eth%d"}, "take letters"},
		{network.Interface{Name: "lo"}, "take another name"},
		{network.Interface{Name: "all"}, "take another name"},
		{network.Interface{Name: "eth0", Addresses: []netip.Prefix{{}}}, "not an address with a prefix length"},
		{network.Interface{Name: "eth0", Addresses: address("::ffff:10.0.0.1/112")}, "write 10.0.0.1"},
		{network.Interface{Name: "eth0", Addresses: address("127.0.0.1/8")}, "no single host"},
		{network.Interface{Name: "eth0", Addresses: address("224.0.0.1/8")}, "no single host"},
		{network.Interface{Name: "eth0", Addresses: address("0.0.0.0/8")}, "no single host"},
		{network.Interface{Name: "eth0", Addresses: address("172.20.0.0/16")}, "the network's own"},
		{network.Interface{Name: "eth0", Addresses: address("fd00::/64")}, "the network's own"},
		{network.Interface{Name: "eth0", Addresses: address("172.20.255.255/16")}, "broadcast address"},
		{network.Interface{Name: "eth0", Addresses: address("172.20.0.2/16", "172.20.0.2/16")}, "there twice"},
		{network.Interface{Name: "eth0", MTU: 67}, "68 to 65535"},
		{network.Interface{Name: "eth0", MTU: 1000, Addresses: address("fd00::2/64")}, "1280 to 65535"},
		{network.Interface{Name: "eth0", MTU: 65536}, "68 to 65535"},
		{network.Interface{Name: "eth0", MAC: net.HardwareAddr{1, 2, 3, 4, 5, 6}}, "make its first byte even"},
		{network.Interface{Name: "eth0", MAC: net.HardwareAddr{2, 2}}, "give 6"},
		{network.Interface{Name: "eth0", MAC: make(net.HardwareAddr, 6)}, "it is none"},
		{network.Interface{Name: "eth0", Addresses: address("172.20.0.2/16"), Gateways: gateway("172.21.0.1")}, "in none of the interface's networks"},
		{network.Interface{Name: "eth0", Addresses: address("172.20.0.2/16"), Gateways: gateway("172.20.0.2")}, "in none of the interface's networks"},
		{network.Interface{
			Name: "eth0", Addresses: address("172.20.0.2/16"), Gateways: append(gateway("172.20.0.1"), gateway("172.20.0.3")...),
		}, "another of its family"},
	} {
		tt.i.Bridge = "front"
		err := tt.i.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.i, err, tt.want)
		}
		b := network.Bridge{Name: tt.i.Name, Addresses: tt.i.Addresses, MTU: tt.i.MTU}
		if err := b.Validate(); len(tt.i.Gateways)+len(tt.i.MAC) == 0 && (err == nil) != (tt.want == "") {
			t.Errorf("%+v: got %v, want %q", b, err, tt.want)
		}
	}
	stack := networktest.OpenStack(t)
	n := networktest.NewNamespace(t)
	if err := stack.Attach(n, network.Interface{Name: "eth0", Bridge: "nowhere"}); err == nil || !strings.Contains(err.Error(), "make it first") {
		t.Errorf("a bridge that is not there: got %v", err)
	}
	if file, err := os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	} else if _, err := network.OpenNamespace(file); err == nil || !strings.Contains(err.Error(), "it is none") {
		t.Errorf("a file that is no namespace: got %v", err)
	}
}

func TestAnInterfaceIsAsAsked(t *testing.T) {
	stack := networktest.OpenStack(t)
	if err := stack.AddBridge(network.Bridge{Name: "front", Addresses: networktest.Prefixes("172.20.0.1/16"), MTU: 9000}); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{0x02, 1, 2, 3, 4, 5}
	n := networktest.AddService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16", "fd00:20::2/64"), MAC: mac, MTU: 9000,
	})
	derived := networktest.AddService(t, stack, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.3/16"), MTU: 9000})
	for _, tt := range []struct {
		n         *network.Namespace
		mac       string
		addresses []string
	}{
		{n, mac.String(), []string{"172.20.0.2/16", "fd00:20::2/64"}},
		{derived, "02:42:ac:14:00:03", []string{"172.20.0.3/16"}},
	} {
		networktest.Within(t, tt.n, func() error {
			i, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			if i.MTU != 9000 || i.HardwareAddr.String() != tt.mac || i.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning {
				t.Errorf("got %+v", i)
			}
			addresses, err := i.Addrs()
			var got []string
			for _, a := range addresses {
				if !strings.HasPrefix(a.String(), "fe80:") {
					got = append(got, a.String())
				}
			}
			if strings.Join(got, " ") != strings.Join(tt.addresses, " ") {
				t.Errorf("got addresses %s, want %s", got, tt.addresses)
			}
			return err
		})
	}
}
