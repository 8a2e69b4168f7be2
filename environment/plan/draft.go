package plan

import (
	"net/netip"
)

// Draft is an environment as somebody asks for it, before names, addresses and
// order are decided. Complete decides them.
type Draft struct {
	// Plan is what needs no decision: all but Version, Networks and Services, which are empty.
	Plan     Plan
	Networks []NetworkRequest
	Services []ServiceRequest
}

// NetworkRequest asks for a network.
type NetworkRequest struct {
	Name     string
	Internal bool
	MTU      int
	// IPv6 asks for an IPv6 subnet beside the IPv4 one; one is made up if Pools has none.
	IPv6  bool
	Pools []Pool
}

// Pool is a subnet and what is to be known of its addresses.
type Pool struct {
	Subnet netip.Prefix
	// Gateway is the bridge's own address; by default the first of the subnet.
	Gateway netip.Addr
	// Range is where addresses are taken from that nobody asked for; by default the whole subnet.
	Range netip.Prefix
	// Reserved are taken by nobody.
	Reserved []netip.Addr
}

// ServiceRequest asks for a service. Its Instances are empty: they are decided.
type ServiceRequest struct {
	Service
	// Replicas is how many instances there are to be; 0 is none.
	Replicas int
	// ContainerName is the name of the only instance.
	ContainerName string
	// Networks in the order of the interfaces. Without any, the service has a loopback interface only, or what
	// JoinNetwork says.
	Networks []Membership
	Links    []Link
	// Exposed are the ports that the file names without publishing them (expose:): nothing is
	// done for them but by `env test`, which opens each on a free port of 127.0.0.1.
	Exposed []Port
}

// Membership puts a service into a network.
type Membership struct {
	Network string
	Aliases []string
	// Addresses that are asked for, at most one of IPv4 and one of IPv6.
	Addresses []netip.Addr
	MAC       string
	// Interface is its name; empty is eth0, eth1, …
	Interface string
	// Unnamed leaves out the service's name, so that its container name and Aliases are all that resolves.
	Unnamed bool
}

// Link gives another service one more name, on the networks that it shares with the service that has the link.
type Link struct {
	Service, Alias string
}
