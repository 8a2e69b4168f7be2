package network

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
)

// Bridge is one network of the environment: a virtual switch with the environment's own addresses on it.
type Bridge struct {
	// Name of the interface, 1 to 15 letters, digits, '_', '-' or '.'.
	Name string
	// Addresses are the bridge's own, each with the length of its network's prefix: 172.20.0.1/16. Services have them as
	// gateway and DNS server. None is possible.
	Addresses []netip.Prefix
	// MTU in bytes; 0 is the kernel's 1500.
	MTU int
}

// Interface is one attachment of a namespace to a Bridge.
type Interface struct {
	// Name inside the namespace, such as eth0; as a Bridge's.
	Name string
	// Bridge is the name of a bridge that AddBridge made.
	Bridge string
	// Addresses, each with the length of its network's prefix.
	Addresses []netip.Prefix
	// MAC is one for a single station. Nil derives one from the first address, so that an instance that is started
	// again with its address is reached by neighbours that remember it.
	MAC net.HardwareAddr
	// MTU in bytes; 0 is the kernel's 1500. It should be the bridge's.
	MTU int
	// Gateways are the routers of the default routes, at most one of a family. Without any there is no way out: a
	// connection to elsewhere fails at once with ENETUNREACH.
	Gateways []netip.Addr
}

const (
	// Bounds of an interface's MTU: RFC 791 and RFC 8200 ask for the least, the kernel's veth has the greatest.
	minMTU   = 68
	minMTU6  = 1280
	maxMTU   = 65535
	maxNames = 15 // IFNAMSIZ without its terminator
)

// interfaceName holds fewer names than the kernel takes: '%' is a pattern to it, and the rest needs quoting somewhere.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// ValidateName says whether an interface can have a name.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("cannot name an interface %q: it is empty", name)
	case len(name) > maxNames:
		return fmt.Errorf("cannot name an interface %q: it has %d characters; take at most %d", name, len(name), maxNames)
	case !interfaceName.MatchString(name):
		return fmt.Errorf("cannot name an interface %q: take letters, digits, '_', '-' and '.', a letter or digit first", name)
	case name == "lo" || name == "all" || name == "default":
		return fmt.Errorf("cannot name an interface %q: the kernel means something else by it; take another name", name)
	}
	return nil
}

// Validate says what keeps the bridge from being made.
func (b Bridge) Validate() error {
	if err := ValidateName(b.Name); err != nil {
		return err
	}
	if err := validateAddresses(b.Addresses); err != nil {
		return fmt.Errorf("bridge %q: %w", b.Name, err)
	}
	if err := validateMTU(b.MTU, b.Addresses); err != nil {
		return fmt.Errorf("bridge %q: %w", b.Name, err)
	}
	return nil
}

// Validate says what keeps the interface from being made. Whether the bridge exists is not looked at.
func (i Interface) Validate() error {
	if err := ValidateName(i.Name); err != nil {
		return err
	}
	if err := ValidateName(i.Bridge); err != nil {
		return fmt.Errorf("bridge of interface %q: %w", i.Name, err)
	}
	for _, err := range []error{
		validateAddresses(i.Addresses), validateMTU(i.MTU, i.Addresses), validateMAC(i.MAC), i.validateGateways(),
	} {
		if err != nil {
			return fmt.Errorf("interface %q: %w", i.Name, err)
		}
	}
	return nil
}

func (i Interface) validateGateways() error {
	families := map[bool]bool{}
	for _, g := range i.Gateways {
		if !slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Masked().Contains(g) && p.Addr() != g }) {
			return fmt.Errorf("cannot use gateway %s: it is in none of the interface's networks; take an address of one", g)
		}
		if families[g.Is6()] {
			return fmt.Errorf("cannot use gateway %s: there is another of its family; give one", g)
		}
		families[g.Is6()] = true
	}
	return nil
}

func validateAddresses(addresses []netip.Prefix) error {
	seen := map[netip.Addr]bool{}
	for _, p := range addresses {
		a := p.Addr()
		switch {
		case !p.IsValid():
			return fmt.Errorf("cannot use address %q: it is not an address with a prefix length; write 172.20.0.2/16", p)
		case a.Is4In6():
			return fmt.Errorf("cannot use address %s: it is IPv4 written as IPv6; write %s", p, a.Unmap())
		case a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("cannot use address %s: it names no single host; take one of the network's host addresses", p)
		case seen[a]:
			return fmt.Errorf("cannot use address %s: it is there twice", p)
		case p.Bits() < a.BitLen()-1 && a == p.Masked().Addr():
			return fmt.Errorf("cannot use address %s: it is the network's own; take a later one", p)
		case a.Is4() && p.Bits() < 31 && a == last(p):
			return fmt.Errorf("cannot use address %s: it is the network's broadcast address; take an earlier one", p)
		}
		seen[a] = true
	}
	return nil
}

// last is the highest address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}

func validateMTU(mtu int, addresses []netip.Prefix) error {
	least := minMTU
	if slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		least = minMTU6
	}
	if mtu != 0 && (mtu < least || mtu > maxMTU) {
		return fmt.Errorf("cannot use an MTU of %d: it has to be %d to %d here; leave it out for 1500", mtu, least, maxMTU)
	}
	return nil
}

func validateMAC(mac net.HardwareAddr) error {
	switch {
	case mac == nil:
	case len(mac) != 6:
		return fmt.Errorf("cannot use MAC address %q: it has %d bytes; give 6", mac, len(mac))
	case mac[0]&1 != 0:
		return fmt.Errorf("cannot use MAC address %q: it is one of a group; make its first byte even", mac)
	case slices.Max(mac) == 0:
		return fmt.Errorf("cannot use MAC address %q: it is none; give another", mac)
	}
	return nil
}

// macOf derives a locally administered MAC address from the first address, nil without one. Equal addresses of one
// network give equal MACs, and different ones of IPv4 different MACs.
func macOf(addresses []netip.Prefix) net.HardwareAddr {
	if len(addresses) == 0 {
		return nil
	}
	b := addresses[0].Addr().AsSlice()
	return append(net.HardwareAddr{0x02, 0x42}, b[len(b)-4:]...)
}
