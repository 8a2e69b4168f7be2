package compose

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

const (
	// mtuOption is docker's name for a bridge's MTU.
	mtuOption = "com.docker.network.driver.mtu"
	// defaultNetwork is that of services that name none.
	defaultNetwork = "default"
)

func (c *converter) network(name string, n types.NetworkConfig) plan.NetworkRequest {
	path := []string{"networks", name}
	out := plan.NetworkRequest{Name: name, Internal: n.Internal, IPv6: n.EnableIPv6 != nil && *n.EnableIPv6}
	if n.Driver != "" && n.Driver != "bridge" && n.Driver != "default" {
		c.refusef(child(path, "driver"), "%q is not supported; write bridge, or leave it out", n.Driver)
	}
	if n.EnableIPv4 != nil && !*n.EnableIPv4 {
		c.refusef(child(path, "enable_ipv4"), "a network without IPv4 is not supported; leave it out")
	}
	if d := n.Ipam.Driver; d != "" && d != "default" {
		c.refusef(append(child(path, "ipam"), "driver"), "%q is not supported; leave it out", d)
	}
	for _, option := range slices.Sorted(maps.Keys(n.DriverOpts)) {
		value := n.DriverOpts[option]
		at := append(child(path, "driver_opts"), option)
		if option != mtuOption {
			c.refusef(at, "this option is not supported; there is %s", mtuOption)
			continue
		}
		mtu, err := strconv.Atoi(value)
		if err != nil {
			c.addf(at, "%q is no MTU; write 68 to 65535", value)
		}
		out.MTU = mtu
	}
	for _, p := range n.Ipam.Config {
		pool := c.pool(append(child(path, "ipam"), "config"), *p)
		out.Pools = append(out.Pools, pool)
		out.IPv6 = out.IPv6 || pool.Subnet.Addr().Is6()
	}
	return out
}

func (c *converter) pool(path []string, p types.IPAMPool) plan.Pool {
	var out plan.Pool
	var err error
	if out.Subnet, err = netip.ParsePrefix(p.Subnet); err != nil && p.Subnet != "" {
		c.addf(path, "%q is no subnet; write for example 10.1.0.0/24", p.Subnet)
	}
	if p.IPRange != "" {
		if out.Range, err = netip.ParsePrefix(p.IPRange); err != nil {
			c.addf(path, "ip_range %q is no subnet; write for example 10.1.0.128/25", p.IPRange)
		}
	}
	out.Gateway = c.address(path, p.Gateway)
	for _, name := range slices.Sorted(maps.Keys(p.AuxiliaryAddresses)) {
		if a := c.address(path, p.AuxiliaryAddresses[name]); a.IsValid() {
			out.Reserved = append(out.Reserved, a)
		}
	}
	return out
}

// address reads an IP address; an empty one is none.
func (c *converter) address(path []string, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		c.addf(path, "%q is no IP address", text)
		return netip.Addr{}
	}
	return a
}

// namespaces that a service shares with another one.
func (c *converter) namespaces(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	shared := func(key, value string) string {
		name, ok := strings.CutPrefix(value, types.ServicePrefix)
		if !ok {
			c.refusef(child(path, key), "%q is not supported; write service:NAME, or leave it out", value)
			return ""
		}
		return name
	}
	switch s.NetworkMode {
	case "", "none":
	case "host":
		c.refusef(child(path, "network_mode"), "the host's network is not for the services of an environment; publish ports with ports, and let traffic out with x-sandbox: {egress: all}")
	default:
		out.JoinNetwork = shared("network_mode", s.NetworkMode)
	}
	if s.NetworkMode != "" && s.NetworkMode != "none" && out.JoinNetwork == "" && c.options.IgnoreUnsupported {
		// As if nothing had been said.
		out.Networks = []plan.Membership{{Network: defaultNetwork}}
		c.used["networks."+defaultNetwork] = true
	}
	if s.Pid != "" {
		out.JoinPID = shared("pid", s.Pid)
	}
	if s.Ipc != "" && s.Ipc != "private" && s.Ipc != "shareable" {
		out.JoinIPC = shared("ipc", s.Ipc)
	}
}

// memberships are the service's networks, those with the highest priority first.
func (c *converter) memberships(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	if s.NetworkMode != "" && len(s.Networks) > 0 {
		c.addf(child(path, "network_mode"), "a service has networks or network_mode; leave one of them out")
		return
	}
	for i, name := range s.NetworksByPriority() {
		m := plan.Membership{Network: name}
		at := append(child(path, "networks"), name)
		if n := s.Networks[name]; n != nil {
			m.Aliases, m.MAC, m.Interface, m.Unnamed = n.Aliases, n.MacAddress, n.InterfaceName, !n.ServiceNameAliasEnabled()
			for _, text := range []string{n.Ipv4Address, n.Ipv6Address} {
				if a := c.address(at, text); a.IsValid() {
					m.Addresses = append(m.Addresses, a)
				}
			}
		}
		if i == 0 && s.MacAddress != "" {
			if m.MAC != "" && m.MAC != s.MacAddress {
				c.addf(child(path, "mac_address"), "the first network says %s; leave one of them out", m.MAC)
			}
			m.MAC = s.MacAddress
		}
		c.used["networks."+name] = true
		out.Networks = append(out.Networks, m)
	}
	for _, text := range s.DNS {
		if a := c.address(child(path, "dns"), text); a.IsValid() {
			out.DNS = append(out.DNS, a)
		}
	}
	for _, link := range s.Links {
		name, alias, found := strings.Cut(link, ":")
		if !found {
			alias = name
		}
		out.Links = append(out.Links, plan.Link{Service: name, Alias: alias})
	}
}

func (c *converter) hosts(path []string, s types.ServiceConfig, out *service.Service) {
	for _, name := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, text := range s.ExtraHosts[name] {
			if text == "host-gateway" {
				c.refusef(child(path, "extra_hosts"), "the host cannot be reached as host-gateway; leave it out, or run what it is for as a service")
				continue
			}
			if a := c.address(child(path, "extra_hosts"), strings.Trim(text, "[]")); a.IsValid() {
				out.ExtraHosts = append(out.ExtraHosts, service.Host{Name: name, Address: a.String()})
			}
		}
	}
}

func (c *converter) ports(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	path = child(path, "ports")
	for _, p := range s.Ports {
		port, problem := portOf(p)
		if problem != "" {
			of := func(value func(string) string) bool {
				return value("published") == p.Published && value("target") == strconv.Itoa(int(p.Target)) || strings.HasPrefix(value("")+"/", fmt.Sprintf("%d/", p.Target))
			}
			c.addItemf(path, of, "%s", problem)
			continue
		}
		out.Ports = append(out.Ports, port)
	}
	slices.SortStableFunc(out.Ports, func(a, b plan.Port) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.HostPort, b.HostPort))
	})
	for _, text := range s.Expose {
		number, protocol, _ := strings.Cut(text, "/")
		low, high, ranged := strings.Cut(number, "-")
		if !ranged {
			high = low
		}
		first, lowErr := strconv.ParseUint(low, 10, 16)
		last, highErr := strconv.ParseUint(high, 10, 16)
		if lowErr != nil || highErr != nil || !slices.Contains([]string{"", "tcp", "udp"}, protocol) {
			c.addf(append(path[:len(path)-1:len(path)-1], "expose"), "%q is no port; write for example 80, 53/udp or 3000-3005", text)
			continue
		}
		for target := first; target <= last; target++ {
			out.Exposed = append(out.Exposed, plan.Port{Target: uint16(target), Protocol: cmp.Or(protocol, "tcp")})
		}
	}
}

func portOf(p types.ServicePortConfig) (port plan.Port, problem string) {
	port = plan.Port{HostIP: netip.IPv4Unspecified(), Target: uint16(p.Target), Protocol: strings.ToLower(p.Protocol), Name: p.Name}
	if port.Protocol == "" {
		port.Protocol = "tcp"
	}
	if port.Protocol != "tcp" && port.Protocol != "udp" {
		return port, fmt.Sprintf("the protocol %q is not supported; write tcp or udp", p.Protocol)
	}
	if p.Target == 0 || p.Target > 65535 {
		return port, fmt.Sprintf("%d is no port; write 1 to 65535", p.Target)
	}
	if p.Mode != "" && p.Mode != "ingress" && p.Mode != "host" {
		return port, fmt.Sprintf("the mode %q is none of host and ingress", p.Mode)
	}
	if p.HostIP != "" {
		a, err := netip.ParseAddr(p.HostIP)
		if err != nil {
			return port, fmt.Sprintf("%q is no IP address", p.HostIP)
		}
		port.HostIP = a
	}
	if p.Published == "" {
		return port, ""
	}
	low, high, ranged := strings.Cut(p.Published, "-")
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return port, fmt.Sprintf("%q is no port of the host; write 0 to 65535, or a range", p.Published)
	}
	port.HostPort = uint16(first)
	if ranged {
		last, err := strconv.ParseUint(high, 10, 16)
		if err != nil || last < first || first == 0 {
			return port, fmt.Sprintf("%q is no range of ports", p.Published)
		}
		if last > first {
			port.HostPortEnd = uint16(last)
		}
	}
	return port, ""
}
