package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/internal/rtnetlink"
)

const (
	loopbackIndex = 1
	// firstIndex is that of the first interface that we make. Below are loopback and what modules put into each new
	// namespace (sit0, tunl0, …). We choose indexes, so that no answer has to be waited for to learn them.
	firstIndex = 100
)

// Stack is the environment's side of its network: the bridges, and one end of each pair of interfaces. It is safe for several
// goroutines.
type Stack struct {
	route *rtnetlink.Socket

	mu      sync.Mutex
	next    int32            // guarded by mu; the next interface's index
	bridges map[string]int32 // guarded by mu; index by name
	// links are all interfaces that are to be there, by index. Guarded by mu.
	links map[int32]Removal
}

// Open takes possession of the calling process's network namespace, which has to belong to the environment alone: it brings
// loopback up and switches forwarding off, which a new IPv4 stack inherits from the host
// (net.core.devconf_inherit_init_net), and which would join the environment's networks with each other.
func Open() (*Stack, error) {
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := clearSysctl(path); err != nil {
			return nil, fmt.Errorf("open network stack: %w", err)
		}
	}
	for _, d := range defaults {
		if err := setSysctl(d.path, d.value); err != nil {
			return nil, fmt.Errorf("open network stack: %w", err)
		}
	}
	route, err := rtnetlink.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open network stack: %w", err)
	}
	if err := route.Do(linkUp(loopbackIndex, "bring up loopback")); err != nil {
		return nil, errors.Join(err, route.Close())
	}
	return &Stack{route: route, next: firstIndex, bridges: map[string]int32{}, links: map[int32]Removal{}}, nil
}

// clearSysctl writes 0 where there is something else: reading is cheaper, and writing 0 to forwarding walks all interfaces.
func clearSysctl(path string) error {
	value, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(value)) == "0" {
		return nil
	}
	if err != nil {
		return err
	}
	return setSysctl(path, "0")
}

// Close gives up the socket. What was made stays until the namespace goes.
func (s *Stack) Close() error { return s.route.Close() }

// AddBridge makes a bridge, brings it up and gives it its addresses, which can be listened on at once. One that is there
// already is an error with unix.EEXIST below.
func (s *Stack) AddBridge(b Bridge) error {
	if err := b.Validate(); err != nil {
		return err
	}
	index := s.takeIndex(Removal{Bridge: b.Name})
	what := fmt.Sprintf("add bridge %q", b.Name)
	if err := s.route.Do(append([]rtnetlink.Request{newBridge(index, b, what)}, newAddresses(index, b.Addresses, what)...)...); err != nil {
		// What was there before us stays: the index is ours alone.
		_ = s.deleteLink(index, what)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bridges[b.Name] = index
	return nil
}

// Attach makes an interface in a namespace, joined to a bridge, with its addresses and routes, all usable at once. If it
// fails nothing of it is left.
func (s *Stack) Attach(n *Namespace, i Interface) error {
	if err := i.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	bridge, known := s.bridges[i.Bridge]
	s.mu.Unlock()
	if !known {
		return fmt.Errorf("cannot attach interface %q: there is no bridge %q; make it first", i.Name, i.Bridge)
	}
	inside, err := n.routeSocket()
	if err != nil {
		return err
	}
	if i.MAC == nil {
		i.MAC = macOf(i.Addresses)
	}
	index := s.takeIndex(Removal{Namespace: n, Interface: i.Name})
	what := fmt.Sprintf("attach interface %q to %q", i.Name, i.Bridge)
	if err := s.route.Do(newVeth(index, bridge, n.FD(), i, what)); err != nil {
		s.forget(index)
		return err
	}
	// The pair is one thing with an index that is ours at both ends; see newVeth.
	if err := inside.Do(slices.Concat(
		[]rtnetlink.Request{linkUp(index, what)}, newAddresses(index, i.Addresses, what), newRoutes(index, i.Gateways, what),
	)...); err != nil {
		return errors.Join(err, s.deleteLink(index, what))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[i.Name] = index
	return nil
}

// Detach removes an interface that Attach made. One that is gone already, also with its namespace, is no error.
func (s *Stack) Detach(n *Namespace, name string) error {
	n.mu.Lock()
	index, known := n.links[name]
	delete(n.links, name)
	n.mu.Unlock()
	if !known {
		return nil
	}
	err := s.deleteLink(index, fmt.Sprintf("detach interface %q", name))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// takeIndex gives a new interface its index, from which it is known what is lost with it.
func (s *Stack) takeIndex(lost Removal) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[s.next] = lost
	s.next++
	return s.next - 1
}

// deleteLink removes one of our interfaces, and with one end of a pair the other.
func (s *Stack) deleteLink(index int32, what string) error {
	s.forget(index)
	return s.route.Do(deleteLink(index, what))
}

// forget makes an interface one that need not be there.
func (s *Stack) forget(index int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, index)
}

// newBridge makes a bridge that is up.
func newBridge(index int32, b Bridge, what string) rtnetlink.Request {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index, message.Flags, message.Change = index, unix.IFF_UP, unix.IFF_UP
	parts := []nl.NetlinkRequestData{message, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(b.Name))}
	// Without a MAC of its own a bridge takes the lowest of its ports', and changes it under its neighbours.
	if mac := macOf(b.Addresses); mac != nil {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if b.MTU != 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(b.MTU))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	// A dozen neighbours need no multicast groups to be learned, with their timers and queries.
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(0))
	return rtnetlink.Request{Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Parts: append(parts, info), What: what}
}

// newVeth makes a pair of interfaces: one at the bridge, up, the other in a namespace, down. Both have the same index, which is
// free in the namespace too: only interfaces of this Stack have such indexes, each its own.
func newVeth(index, bridge int32, namespace int, i Interface, what string) rtnetlink.Request {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index, message.Flags, message.Change = index, unix.IFF_UP, unix.IFF_UP
	parts := []nl.NetlinkRequestData{
		message,
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("veth"+strconv.Itoa(int(index)))),
		nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))),
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	// It cannot be up yet: veth refuses as long as the pair is not complete.
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC).Index = index
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(i.Name))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(namespace)))
	if i.MAC != nil {
		peer.AddRtAttr(unix.IFLA_ADDRESS, i.MAC)
	}
	if i.MTU != 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(i.MTU))))
		peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(i.MTU)))
	}
	return rtnetlink.Request{Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Parts: append(parts, info), What: what}
}

// linkUp brings an interface up.
func linkUp(index int32, what string) rtnetlink.Request {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index, message.Flags, message.Change = index, unix.IFF_UP, unix.IFF_UP
	return rtnetlink.Request{Type: unix.RTM_NEWLINK, Parts: []nl.NetlinkRequestData{message}, What: what}
}

// deleteLink removes an interface.
func deleteLink(index int32, what string) rtnetlink.Request {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = index
	return rtnetlink.Request{Type: unix.RTM_DELLINK, Parts: []nl.NetlinkRequestData{message}, What: what}
}

// newAddresses gives an interface its addresses. An IPv6 address can be used at once: it is not asked around for first.
func newAddresses(index int32, addresses []netip.Prefix, what string) []rtnetlink.Request {
	var requests []rtnetlink.Request
	for _, p := range addresses {
		message := nl.NewIfAddrmsg(family(p.Addr()))
		message.Index, message.Prefixlen = uint32(index), uint8(p.Bits())
		if p.Addr().Is6() {
			message.Flags = unix.IFA_F_NODAD
		}
		parts := []nl.NetlinkRequestData{
			message, nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()), nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()),
		}
		if p.Addr().Is4() && p.Bits() < 31 {
			parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, last(p).AsSlice()))
		}
		requests = append(requests, rtnetlink.Request{
			Type: unix.RTM_NEWADDR, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Parts: parts, What: what + ": address " + p.String(),
		})
	}
	return requests
}

// newRoutes makes default routes.
func newRoutes(index int32, gateways []netip.Addr, what string) []rtnetlink.Request {
	var requests []rtnetlink.Request
	for _, g := range gateways {
		message := nl.NewRtMsg()
		message.Family = uint8(family(g))
		requests = append(requests, rtnetlink.Request{
			Type: unix.RTM_NEWROUTE, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, What: what + ": default route by " + g.String(),
			Parts: []nl.NetlinkRequestData{
				message, nl.NewRtAttr(unix.RTA_GATEWAY, g.AsSlice()), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))),
			},
		})
	}
	return requests
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
