package egress_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a host of our own with a network behind it: what is done to it is done to no real one.
type world struct {
	// host and outside are two namespaces on one network: 203.0.113.1 and .2 to .4, 2001:db8::1 and ::2.
	host, outside *network.Namespace
	stack         *network.Stack
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{host: networktest.NewNamespace(t), outside: networktest.NewNamespace(t)}
	w.stack = networktest.OpenStackIn(t, w.host)
	networktest.AddBridge(t, w.stack, "lan", "203.0.113.1/24", "2001:db8::1/64")
	err := w.stack.Attach(w.outside, network.Interface{
		Name: "eth0", Bridge: "lan", Addresses: networktest.Prefixes("203.0.113.2/24", "203.0.113.3/24", "203.0.113.4/24", "2001:db8::2/64"),
		// It knows a way to everything behind the host, should anything get through.
		Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"203.0.113.2", "203.0.113.3", "203.0.113.4", "2001:db8::2"} {
		serve(t, w.outside, net.JoinHostPort(address, "80"))
	}
	return w
}

// environment is a network namespace with the networks front and back (internal), and a service on each.
type environment struct {
	key         string
	namespace   *network.Namespace
	stack       *network.Stack
	link        egress.Link
	rules       *egress.Rules
	front, back *network.Namespace
}

func (w *world) addEnvironment(t testing.TB, key string, policy egress.Policy) *environment {
	t.Helper()
	e := &environment{key: key, namespace: networktest.NewNamespace(t)}
	e.stack = networktest.OpenStackIn(t, e.namespace)
	networktest.Within(t, w.host, func() (err error) {
		file, err := os.Open(e.namespace.Path())
		if err != nil {
			return err
		}
		defer file.Close()
		e.link, err = egress.Setup(key, file)
		return err
	})
	t.Cleanup(func() { w.remove(t, key) })
	networktest.AddBridge(t, e.stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	networktest.AddBridge(t, e.stack, "back", "172.21.0.1/16")
	networktest.Within(t, e.namespace, func() (err error) {
		e.rules, err = egress.Open(e.link, policy, []egress.Network{{Bridge: "front"}, {Bridge: "back", Internal: true}})
		return err
	})
	t.Cleanup(func() {
		if err := e.rules.Close(); err != nil {
			t.Error(err)
		}
	})
	gateways := []netip.Addr{netip.MustParseAddr("172.20.0.1")}
	if e.link.Inside6.IsValid() {
		gateways = append(gateways, netip.MustParseAddr("fd00:20::1"))
	}
	e.front, e.back = networktest.NewNamespace(t), networktest.NewNamespace(t)
	for _, s := range []struct {
		n *network.Namespace
		i network.Interface
	}{
		{e.front, network.Interface{Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16", "fd00:20::2/64"), Gateways: gateways}},
		// It has a default route all the same: the rules have to hold without the route's help.
		{e.back, network.Interface{
			Name: "eth0", Bridge: "back", Addresses: networktest.Prefixes("172.21.0.2/16"), Gateways: []netip.Addr{netip.MustParseAddr("172.21.0.1")},
		}},
	} {
		if err := e.stack.Attach(s.n, s.i); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// remove removes an environment's host half and holds that nothing of it remains.
func (w *world) remove(t testing.TB, key string) {
	t.Helper()
	networktest.Within(t, w.host, func() error {
		if err := egress.Remove(key); err != nil {
			return err
		}
		remains, err := egress.Remains(key)
		if err == nil && len(remains) > 0 {
			err = fmt.Errorf("%v remain", remains)
		}
		return err
	})
}

// serve tells each client of an address in a namespace where it seems to come from.
func serve(t testing.TB, n *network.Namespace, address string) {
	t.Helper()
	networktest.Serve(t, n, address, func(from net.Addr) string { return from.(*net.TCPAddr).IP.String() })
}

// ask connects from a namespace to port 80 of an address and gives what it is told.
func ask(t testing.TB, n *network.Namespace, address string, patience time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return networktest.Ask(ctx, n, net.JoinHostPort(address, "80"))
}

// askUDP sends a datagram to port 9 of an address and waits for an answer, which is an error.
func askUDP(t testing.TB, n *network.Namespace, address string) (string, error) {
	t.Helper()
	c, err := n.DialContext(t.Context(), "udp", net.JoinHostPort(address, "9"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return "", err
	}
	buffer := make([]byte, 100)
	read, err := c.Read(buffer)
	return string(buffer[:read]), err
}

// addDefaultRoute adds one by a gateway in the calling thread's namespace.
func addDefaultRoute(gateway netip.Addr) error {
	return netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()})
}
