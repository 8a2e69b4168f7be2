package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxInterface bounds the name of a network interface (IFNAMSIZ without its end).
	maxInterface = 15
	// maxSubnets bounds those that are made up: 10.89.0.0/24 to 10.89.255.0/24.
	maxSubnets = 256
	// defaultNetwork is the network of services that name none.
	defaultNetwork = "default"
)

// network is a Network with its pools, on the way to addresses.
type network struct {
	Network
	pools []Pool
	// taken by instances, gateways and reservations.
	taken map[netip.Addr]string
	// next is where the search for a free address goes on, by pool.
	next []netip.Addr
}

// networks makes the networks and gives each instance its addresses: those that were asked for first, so that nobody else
// takes them.
func (c *completion) networks(order []string) {
	all := c.makeNetworks()
	if len(c.problems) > 0 {
		return
	}
	c.attach(order, all)
	for _, name := range order {
		c.takeAsked(c.services[name], all)
	}
	for _, name := range order {
		s := c.services[name]
		for i := range s.Instances {
			c.takeFree(s, &s.Instances[i], all)
		}
	}
	c.link(order)
	for _, name := range c.networkNames() {
		c.plan.Networks = append(c.plan.Networks, all[name].Network)
	}
}

// networkNames has the default network first, and the others by the alphabet.
func (c *completion) networkNames() []string {
	var out []string
	for _, n := range c.draft.Networks {
		out = append(out, n.Name)
	}
	slices.SortFunc(out, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == defaultNetwork:
			return -1
		case b == defaultNetwork:
			return 1
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(out)
}

func (c *completion) makeNetworks() map[string]*network {
	requests := map[string]NetworkRequest{}
	for _, n := range c.draft.Networks {
		requests[n.Name] = n
	}
	var asked []netip.Prefix
	for _, name := range c.networkNames() {
		for _, p := range requests[name].Pools {
			c.checkPool(name, p, asked)
			asked = append(asked, p.Subnet.Masked())
		}
	}
	all := map[string]*network{}
	bridges := map[string]bool{}
	for _, name := range c.networkNames() {
		r := requests[name]
		n := &network{Network: Network{Name: name, Bridge: bridgeName(name, bridges), Internal: r.Internal, MTU: r.MTU}, taken: map[netip.Addr]string{}}
		if r.MTU != 0 && (r.MTU < 68 || r.MTU > 65535) {
			c.addf([]string{"networks", name, "driver_opts"}, "%d is no MTU; write 68 to 65535", r.MTU)
		}
		n.pools = c.pools(r, &asked)
		for i, p := range n.pools {
			p.Subnet = p.Subnet.Masked()
			if !p.Gateway.IsValid() {
				p.Gateway = p.Subnet.Addr().Next()
			}
			if !p.Range.IsValid() {
				p.Range = p.Subnet
			}
			n.pools[i] = p
			n.Subnets = append(n.Subnets, p.Subnet)
			n.Gateways = append(n.Gateways, p.Gateway)
			n.next = append(n.next, p.Range.Masked().Addr())
			n.taken[p.Gateway] = "the gateway"
			for _, a := range p.Reserved {
				n.taken[a] = "aux_addresses"
			}
		}
		all[name] = n
	}
	return all
}

// pools are those asked for and those made up for what was not: IPv4 first.
func (c *completion) pools(r NetworkRequest, asked *[]netip.Prefix) []Pool {
	var v4, v6 []Pool
	for _, p := range r.Pools {
		if p.Subnet.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	if len(v4) > 1 || len(v6) > 1 {
		c.addf([]string{"networks", r.Name, "ipam"}, "a network has one subnet of IPv4 and one of IPv6; leave the others out")
	}
	if len(v4) == 0 {
		v4 = c.makeUp(r.Name, asked, func(i int) string { return fmt.Sprintf("10.89.%d.0/24", i) })
	}
	if len(v6) == 0 && r.IPv6 {
		v6 = c.makeUp(r.Name, asked, func(i int) string { return fmt.Sprintf("fd73:6278:7200:%x::/64", i) })
	}
	return slices.Concat(v4, v6)
}

// makeUp takes the first subnet that no network asks for.
func (c *completion) makeUp(name string, asked *[]netip.Prefix, subnet func(int) string) []Pool {
	for i := range maxSubnets {
		p := netip.MustParsePrefix(subnet(i))
		if !slices.ContainsFunc(*asked, p.Overlaps) {
			*asked = append(*asked, p)
			return []Pool{{Subnet: p}}
		}
	}
	c.addf([]string{"networks", name}, "there is no free subnet for it; set ipam.config.subnet")
	return nil
}

func (c *completion) checkPool(name string, p Pool, asked []netip.Prefix) {
	path := []string{"networks", name, "ipam"}
	s := p.Subnet
	switch {
	case !s.IsValid():
		c.addf(path, "a pool needs a subnet; set ipam.config.subnet")
		return
	case s.Addr().Is4In6() || s.Addr().IsMulticast() || s.Addr().IsLoopback() || s.Addr().Zone() != "":
		c.addf(path, "%s cannot be the subnet of a network; write a private one such as 10.1.0.0/24", s)
	case s.Addr().BitLen()-s.Bits() < 2:
		c.addf(path, "the subnet %s has no room for a gateway and an instance; write a larger one", s)
	}
	if i := slices.IndexFunc(asked, s.Overlaps); i >= 0 {
		c.addf(path, "the subnet %s overlaps %s of another network; choose another", s, asked[i])
	}
	if p.Gateway.IsValid() && !usable(s.Masked(), p.Gateway) {
		c.addf(path, "the gateway %s is no address of the subnet %s; write one that is", p.Gateway, s)
	}
	if p.Range.IsValid() && (p.Range.Bits() < s.Bits() || !s.Contains(p.Range.Addr())) {
		c.addf(path, "ip_range %s is not within the subnet %s", p.Range, s)
	}
	for _, a := range p.Reserved {
		if !s.Contains(a) {
			c.addf(path, "aux_addresses: %s is no address of the subnet %s", a, s)
		}
	}
}

// usable tells whether a can be somebody's address in the subnet: neither the subnet's own nor, in IPv4, the broadcast
// address.
func usable(subnet netip.Prefix, a netip.Addr) bool {
	if !subnet.Contains(a) || a == subnet.Addr() {
		return false
	}
	return a.Is6() || subnet.Contains(a.Next())
}

// attach gives each instance its interfaces.
func (c *completion) attach(order []string, all map[string]*network) {
	for _, name := range order {
		s := c.services[name]
		for i := range s.Instances {
			in := &s.Instances[i]
			for n, m := range s.Networks {
				a := Attachment{Network: m.Network, Interface: m.Interface, MAC: m.MAC}
				if a.Interface == "" {
					a.Interface = "eth" + strconv.Itoa(n)
				}
				if !m.Unnamed {
					a.Names = append(a.Names, name)
				}
				for _, alias := range append([]string{in.Name}, m.Aliases...) {
					if !slices.Contains(a.Names, alias) {
						a.Names = append(a.Names, alias)
					}
				}
				in.Attachments = append(in.Attachments, a)
			}
		}
		c.checkInterfaces(s, all)
	}
}

func (c *completion) checkInterfaces(s *ServiceRequest, all map[string]*network) {
	names := map[string]bool{}
	for n, m := range s.Networks {
		path := at(s.Name, "networks", m.Network)
		name := m.Interface
		if name == "" {
			name = "eth" + strconv.Itoa(n)
		}
		if names[name] || !isInterface(name) {
			c.addf(append(path, "interface_name"), "%q is taken or no name of an interface: at most %d letters, digits, _ . and -", name, maxInterface)
		}
		names[name] = true
		if mac, err := net.ParseMAC(m.MAC); m.MAC != "" && (err != nil || len(mac) != 6 || mac[0]&1 != 0) {
			c.addf(append(path, "mac_address"), "%q is no hardware address of one interface; write for example 02:42:ac:11:00:02", m.MAC)
		}
		if len(m.Addresses) > 0 && s.Replicas > 1 {
			c.addf(path, "%d replicas cannot have one address; leave it out", s.Replicas)
		}
		if m.MAC != "" && s.Replicas > 1 {
			c.addf(append(path, "mac_address"), "%d replicas cannot have one hardware address; leave it out", s.Replicas)
		}
		for _, a := range m.Addresses {
			if !slices.ContainsFunc(all[m.Network].Subnets, func(p netip.Prefix) bool { return usable(p, a) }) {
				c.addf(path, "%s is no address of the network's subnets (%s); choose one of them, or set ipam.config.subnet", a, join(all[m.Network].Subnets))
			}
		}
	}
}

func isInterface(s string) bool {
	return len(s) <= maxInterface && s != "lo" && isLabel(s)
}

func join(prefixes []netip.Prefix) string {
	out := make([]string, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}

// takeAsked takes the addresses that a service asks for.
func (c *completion) takeAsked(s *ServiceRequest, all map[string]*network) {
	if len(s.Instances) == 0 {
		return
	}
	in := &s.Instances[0]
	for i, m := range s.Networks {
		n := all[m.Network]
		for _, a := range m.Addresses {
			if by, taken := n.taken[a]; taken && by != "aux_addresses" {
				c.addf(at(s.Name, "networks", m.Network), "the address %s is that of %s; choose another", a, by)
			}
			n.taken[a] = strconv.Quote(s.Name)
			in.Attachments[i].Addresses = append(in.Attachments[i].Addresses, a)
		}
	}
}

// takeFree gives an instance an address of each subnet in which it has none.
func (c *completion) takeFree(s *ServiceRequest, in *Instance, all map[string]*network) {
	for i := range in.Attachments {
		a := &in.Attachments[i]
		n := all[a.Network]
		var addresses []netip.Addr
		for p, subnet := range n.Subnets {
			if j := slices.IndexFunc(a.Addresses, subnet.Contains); j >= 0 {
				addresses = append(addresses, a.Addresses[j])
				continue
			}
			free := n.free(p)
			if !free.IsValid() {
				c.addf([]string{"networks", a.Network}, "%s has no free address left for %q; set a larger ipam.config.subnet or ip_range", n.pools[p].Range, in.Name)
				return
			}
			n.taken[free] = strconv.Quote(s.Name)
			addresses = append(addresses, free)
		}
		a.Addresses = addresses
	}
}

// free returns the next free address of a pool, or none.
func (n *network) free(pool int) netip.Addr {
	for a := n.next[pool]; n.pools[pool].Range.Contains(a); a = a.Next() {
		if _, taken := n.taken[a]; !taken && usable(n.Subnets[pool], a) {
			n.next[pool] = a.Next()
			return a
		}
	}
	return netip.Addr{}
}

// link adds the names of links.
func (c *completion) link(order []string) {
	for _, name := range order {
		s := c.services[name]
		for _, l := range s.Links {
			other := c.services[l.Service]
			for i := range other.Instances {
				for j := range other.Instances[i].Attachments {
					a := &other.Instances[i].Attachments[j]
					shared := slices.ContainsFunc(s.Networks, func(m Membership) bool { return m.Network == a.Network })
					if shared && !slices.Contains(a.Names, l.Alias) {
						a.Names = append(a.Names, l.Alias)
					}
				}
			}
		}
	}
}

// bridgeName returns br-NAME, shortened with a part of its hash where that is too long for an interface, and notes it in
// taken.
func bridgeName(name string, taken map[string]bool) string {
	bridge := "br-" + name
	for i := 0; !isInterface(bridge) || taken[bridge]; i++ {
		sum := sha256.Sum256([]byte(name + strings.Repeat("+", i)))
		short := strings.Map(func(r rune) rune {
			if r < 0x80 && isLabel(string(r)) {
				return r
			}
			return -1
		}, name)
		bridge = "br-" + short[:min(len(short), 5)] + "-" + hex.EncodeToString(sum[:3])
	}
	taken[bridge] = true
	return bridge
}
