package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	forwarding4 = "/proc/sys/net/ipv4/ip_forward"
	forwarding6 = "/proc/sys/net/ipv6/conf/all/forwarding"
	// forwardingTable is an empty table that stands for "we switched forwarding on". It lives as long as what it tells of:
	// until somebody undoes it, or the next boot.
	forwardingTable = tablePrefix + "forwarding"
)

// Setup makes the host's half of an environment's way out, in the network namespace of the calling thread, with the pair's
// other end in namespace, an open network namespace. key is the environment's own, such as the absolute path of its
// directory: its record must be on disk before, since Remove needs it. What an earlier environment of the key left is
// removed. If Setup fails nothing is left.
func Setup(key string, namespace *os.File) (link Link, err error) {
	h, err := openHost()
	if err != nil {
		return Link{}, fmt.Errorf("set up the way out: %w", err)
	}
	defer h.close()
	if h.nft == nil {
		return Link{}, errors.New(
			"cannot let services out: this kernel has no nf_tables; load the module nf_tables, or leave x-sandbox.egress out")
	}
	if err := h.remove(key); err != nil {
		return Link{}, fmt.Errorf("set up the way out: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("set up the way out: %w", err), h.remove(key))
		}
	}()
	link = Link{Interface: InterfaceName(key), Table: TableName(key)}
	taken, default6, err := h.routed()
	if err != nil {
		return Link{}, err
	}
	if link.Host, link.Inside, err = choose(key, taken); err != nil {
		return Link{}, err
	}
	if default6 && isOn(forwarding6) {
		if host, inside, free := choose6(key, taken); free {
			link.Host6, link.Inside6 = host, inside
		}
	}
	if err := h.forward(&link); err != nil {
		return Link{}, err
	}
	// The rules before the interface: at no time does anything pass without them.
	if err := h.addTable(link); err != nil {
		return Link{}, err
	}
	if err := h.letPast(&link); err != nil {
		return Link{}, err
	}
	return link, h.addPair(link, namespace)
}

// Remove takes away what Setup made for a key, in the network namespace of the calling thread, and switches forwarding off
// again if Setup switched it on and no other environment needs it. Nothing there is no error.
func Remove(key string) error {
	h, err := openHost()
	if err != nil {
		return fmt.Errorf("remove the way out: %w", err)
	}
	defer h.close()
	if err := h.remove(key); err != nil {
		return fmt.Errorf("remove the way out: %w", err)
	}
	return nil
}

// Remains names what there is on the host for a key: nothing after Remove.
func Remains(key string) ([]string, error) {
	h, err := openHost()
	if err != nil {
		return nil, fmt.Errorf("look for the way out: %w", err)
	}
	defer h.close()
	var found []string
	if _, err := h.link.LinkByName(InterfaceName(key)); err == nil {
		found = append(found, "interface "+InterfaceName(key))
	} else if !isNotFound(err) {
		return nil, fmt.Errorf("look for the way out: %w", err)
	}
	if h.nft == nil {
		return found, nil
	}
	tables, err := h.tables()
	if err != nil {
		return nil, fmt.Errorf("look for the way out: %w", err)
	}
	if slices.Contains(tables, TableName(key)) {
		found = append(found, "nftables table inet "+TableName(key))
	}
	return found, nil
}

// host is the host's network, locked against other Setups and Removes: they choose addresses that are free, and say who
// is the last to need forwarding.
type host struct {
	lock *os.File
	link *netlink.Handle
	// nft is nil where the kernel has no nf_tables: nothing can be set up then, and there is nothing of it to remove.
	nft *nftables.Conn
}

// openHost locks the file that says whether the host forwards. It is the thing that is shared, it is one file for each
// network namespace, and it leaves no lock file behind.
func openHost() (*host, error) {
	lock, err := os.Open(forwarding4)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		lock.Close()
		return nil, &os.PathError{Op: "flock", Path: forwarding4, Err: err}
	}
	link, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	h := &host{lock: lock, link: link}
	if h.nft, err = openTables(); err != nil && !isUnsupported(err) {
		h.close()
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return h, nil
}

// openTables opens nftables, and asks, since a socket can be had without them.
func openTables() (*nftables.Conn, error) {
	nft, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	if _, err := nft.ListTablesOfFamily(nftables.TableFamilyINet); err != nil {
		return nil, errors.Join(err, nft.CloseLasting())
	}
	return nft, nil
}

// isUnsupported says that the kernel has no netfilter by netlink, or nobody in it who knows tables.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

func (h *host) close() {
	h.link.Close()
	if h.nft != nil {
		_ = h.nft.CloseLasting() // a socket that nothing is read from any more
	}
	h.lock.Close()
}

// routed gives all that the host has a route to or an address of, and whether it has a default route of IPv6.
func (h *host) routed() (taken []netip.Prefix, default6 bool, err error) {
	// Table unspecified is all tables: policy routing's too, and the local one with the host's addresses.
	routes, err := h.link.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, false, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		p, ok := prefixOf(r.Dst)
		if !ok || p.Bits() == 0 {
			default6 = default6 || r.Family == netlink.FAMILY_V6 && r.Type == unix.RTN_UNICAST
			continue
		}
		taken = append(taken, p)
	}
	return taken, default6, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}

// addPair makes the pair of interfaces, with the host's end up.
func (h *host) addPair(link Link, namespace *os.File) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = link.Interface
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: Uplink, PeerNamespace: netlink.NsFd(int(namespace.Fd()))}
	if err := h.link.LinkAdd(pair); err != nil {
		return fmt.Errorf("add interface %q: %w", link.Interface, err)
	}
	for _, p := range []netip.Prefix{link.Host, link.Host6} {
		if !p.IsValid() {
			continue
		}
		address := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := h.link.AddrAdd(pair, address); err != nil {
			return fmt.Errorf("add address %s to interface %q: %w", p, link.Interface, err)
		}
	}
	if err := h.link.LinkSetUp(pair); err != nil {
		return fmt.Errorf("bring up interface %q: %w", link.Interface, err)
	}
	return nil
}

// forward switches forwarding of IPv4 on where it is off, and says so.
func (h *host) forward(link *Link) error {
	if isOn(forwarding4) {
		return nil
	}
	// The note first: forwarding that is on without it stays on.
	h.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: forwardingTable})
	if err := h.nft.Flush(); err != nil {
		return fmt.Errorf("add nftables table %q: %w", forwardingTable, err)
	}
	if err := write(forwarding4, "1"); err != nil {
		return err
	}
	link.Notices = append(link.Notices,
		"IPv4 forwarding of this host was off; it is on while an environment has egress (net.ipv4.ip_forward)")
	return nil
}

// remove takes away what there is of a key.
func (h *host) remove(key string) error {
	var errs []error
	pair, err := h.link.LinkByName(InterfaceName(key))
	if err == nil {
		err = h.link.LinkDel(pair)
	}
	if err != nil && !isNotFound(err) {
		errs = append(errs, fmt.Errorf("delete interface %q: %w", InterfaceName(key), err))
	}
	if h.nft == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, h.removePassage(InterfaceName(key)), h.deleteTable(TableName(key)), h.stopForwarding())
	return errors.Join(errs...)
}

// stopForwarding switches off again what forward switched on, after the last environment.
func (h *host) stopForwarding() error {
	tables, err := h.tables()
	if err != nil || !slices.Contains(tables, forwardingTable) {
		return err
	}
	if slices.ContainsFunc(tables, func(t string) bool { return strings.HasPrefix(t, tablePrefix) && t != forwardingTable }) {
		return nil
	}
	if err := write(forwarding4, "0"); err != nil {
		return err
	}
	return h.deleteTable(forwardingTable)
}

// isNotFound says that an interface is not there, or went while it was looked at.
func isNotFound(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

func isOn(sysctl string) bool {
	value, err := os.ReadFile(sysctl)
	return err == nil && strings.TrimSpace(string(value)) == "1"
}

func write(sysctl, value string) error {
	file, err := os.OpenFile(sysctl, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(value)
	return err
}
