package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/names"
)

// wiring is the environment's network: bridges and names.
type wiring struct {
	env      *supervisor
	stack    *network.Stack
	names    *names.Server
	networks map[string]*plan.Network

	mu sync.Mutex
	// namespaces of all instances, each whose it is; they stay until the end, since
	// another service may share one. Guarded by mu.
	namespaces map[*network.Namespace]*instance
}

// connect makes the bridges, and answers names on them.
func (s *supervisor) connect(undo *cleanup.Stack) (err error) {
	w := &wiring{env: s, networks: map[string]*plan.Network{}, namespaces: map[*network.Namespace]*instance{}}
	s.network = w
	if w.stack, err = network.Open(); err != nil {
		return err
	}
	undo.Push(w.stack.Close)
	undo.Push(w.closeNamespaces)
	// Until then: with a namespace its interfaces go.
	stopWatch, err := w.stack.Watch(w.lost)
	if err != nil {
		return err
	}
	undo.Push(stopWatch)
	// Opening the stack has switched forwarding off; egress switches it on when there are rules.
	options, err := w.openEgress(undo)
	if err != nil {
		return err
	}
	w.names = names.NewServer(options)
	undo.Push(w.names.Close)
	for n := range s.handover.Plan.Networks {
		if err := w.addNetwork(&s.handover.Plan.Networks[n]); err != nil {
			return err
		}
	}
	return nil
}

func (w *wiring) addNetwork(n *plan.Network) error {
	bridge := network.Bridge{Name: n.Bridge, MTU: n.MTU}
	for _, gateway := range n.Gateways {
		prefix, err := prefixIn(n, gateway)
		if err != nil {
			return err
		}
		bridge.Addresses = append(bridge.Addresses, prefix)
	}
	if err := w.stack.AddBridge(bridge); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	w.networks[n.Name] = n
	err := w.names.AddNetwork(names.Network{Name: n.Name, Gateways: n.Gateways, Subnets: n.Subnets, Internal: n.Internal})
	if err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	return nil
}

// prefixIn gives an address the length of the network's prefix that it is in.
func prefixIn(n *plan.Network, address netip.Addr) (netip.Prefix, error) {
	for _, subnet := range n.Subnets {
		if subnet.Contains(address) {
			return netip.PrefixFrom(address, subnet.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("network %s has no subnet for %s", n.Name, address)
}

// endpoint is an instance's place in the network, for all its containers: a restart
// has the same namespace and addresses.
type endpoint struct {
	namespace *network.Namespace
	// host is the instance whose namespace this is; nil if it is the instance's own.
	host *instance
	// address is the first of its own, where it is connected to; invalid without one.
	address netip.Addr
	// servers are whom its resolver asks.
	servers []netip.Addr
}

// attach gives an instance a namespace with its interfaces, or that of the service
// whose network it shares.
func (w *wiring) attach(i *instance) (*endpoint, error) {
	if name := i.service.JoinNetwork; name != "" {
		return w.join(name)
	}
	namespace, err := network.NewNamespace()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.namespaces[namespace] = i
	w.mu.Unlock()
	e := &endpoint{namespace: namespace}
	routed := false
	for _, a := range i.plan.Attachments {
		n := w.networks[a.Network]
		if n == nil {
			return nil, fmt.Errorf("there is no network %q", a.Network)
		}
		// A namespace has one way out, by the first network that has one.
		var gateways []netip.Addr
		if !routed && !n.Internal {
			gateways = w.routers(n)
			routed = len(gateways) > 0
		}
		if err := w.addInterface(e, n, a, gateways); err != nil {
			return nil, err
		}
		e.servers = append(e.servers, n.Gateways...)
		for _, address := range a.Addresses {
			if !e.address.IsValid() {
				e.address = address
			}
		}
	}
	if w.areOurs(i.service.DNS) {
		e.servers = i.service.DNS
	}
	return e, nil
}

// areOurs reports whether there are name servers and all are in the environment:
// they are asked directly, as no other way leads to them.
func (w *wiring) areOurs(servers []netip.Addr) bool {
	for _, server := range servers {
		in := func(n plan.Network) bool {
			return slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(server) })
		}
		if !slices.ContainsFunc(w.env.handover.Plan.Networks, in) {
			return false
		}
	}
	return len(servers) > 0
}

func (w *wiring) addInterface(e *endpoint, n *plan.Network, a plan.Attachment, gateways []netip.Addr) error {
	what := network.Interface{Name: a.Interface, Bridge: n.Bridge, MTU: n.MTU, Gateways: gateways}
	for _, address := range a.Addresses {
		prefix, err := prefixIn(n, address)
		if err != nil {
			return err
		}
		what.Addresses = append(what.Addresses, prefix)
	}
	if a.MAC != "" {
		mac, err := net.ParseMAC(a.MAC)
		if err != nil {
			return fmt.Errorf("cannot use mac_address %q: %w; write it as 02:42:ac:11:00:02", a.MAC, err)
		}
		what.MAC = mac
	}
	return w.stack.Attach(e.namespace, what)
}

// join gives the place of a service's first instance.
func (w *wiring) join(name string) (*endpoint, error) {
	instances := w.env.services[name]
	if len(instances) == 0 || instances[0].endpoint == nil {
		return nil, fmt.Errorf("cannot share the network of service %s: it has none", name)
	}
	host := instances[0]
	shared := *host.endpoint
	shared.host = host
	return &shared, nil
}

func (w *wiring) closeNamespaces() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for n := range w.namespaces {
		errs = append(errs, n.Close())
	}
	clear(w.namespaces)
	return errors.Join(errs...)
}

// announce makes an instance's names known.
func (w *wiring) announce(i *instance) error {
	if i.endpoint.host != nil {
		return nil
	}
	known := names.Instance{}
	for _, a := range i.plan.Attachments {
		known.Attachments = append(known.Attachments, names.Attachment{Network: a.Network, Addresses: a.Addresses, Names: a.Names})
	}
	if !w.areOurs(i.service.DNS) {
		for _, server := range i.service.DNS {
			known.Upstreams = append(known.Upstreams, netip.AddrPortFrom(server, names.Port))
		}
	}
	return w.names.Set(i.plan.Name, known)
}

// withdraw takes them out.
func (w *wiring) withdraw(i *instance) {
	if i.endpoint.host == nil {
		w.names.Delete(i.plan.Name)
	}
}

// dial connects from the environment's network. Names are those that the instance
// itself knows: of services on its networks.
func (i *instance) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err != nil {
		found, ok := i.lookUp(host)
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		address = net.JoinHostPort(found.String(), port)
	}
	return (&net.Dialer{}).DialContext(ctx, kind, address)
}

// lookUp finds the first address of a name on the instance's networks.
func (i *instance) lookUp(name string) (netip.Addr, bool) {
	if i.endpoint.host != nil {
		return i.endpoint.host.lookUp(name)
	}
	isName := func(known string) bool { return strings.EqualFold(known, name) }
	for _, own := range i.plan.Attachments {
		for _, other := range i.env.instances {
			for _, a := range other.plan.Attachments {
				if a.Network == own.Network && len(a.Addresses) > 0 && slices.ContainsFunc(a.Names, isName) {
					return a.Addresses[0], true
				}
			}
		}
	}
	return netip.Addr{}, false
}

// addresses are those of an instance, by network.
func (i *instance) addresses() map[string][]string {
	all := map[string][]string{}
	for _, a := range i.plan.Attachments {
		for _, address := range a.Addresses {
			all[a.Network] = append(all[a.Network], address.String())
		}
	}
	return all
}

// ports are those that are published for an instance, the first of its service.
func (i *instance) ports() (ports []control.PublishedPort) {
	if i.siblings[0] != i {
		return nil
	}
	for _, p := range i.env.handover.Ports {
		if p.Service == i.service.Name {
			ports = append(ports, control.PublishedPort{HostIP: p.HostIP.String(), HostPort: p.HostPort, Target: p.Target, Protocol: p.Protocol})
		}
	}
	return ports
}
