package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/names"
)

const (
	insideTable = "sandboxrun-egress"
	// grace is how long an address may be used beyond the time that its name's record holds: programs keep addresses longer,
	// and connections are opened again. A connection that is open needs no address in the set.
	grace = 5 * time.Minute
	// refresh is how long before its end an address that is resolved again is let out anew.
	refresh = time.Minute
)

// Network is one network of the environment as egress sees it.
type Network struct {
	Bridge string
	// Internal networks have no way out, whatever the policy.
	Internal bool
}

// Rules are the inside half: what is let out, and by which names. It is safe for several goroutines.
type Rules struct {
	policy Policy
	table  *nftables.Table

	mu   sync.Mutex
	conn *nftables.Conn // guarded by mu
	// learned4 and learned6 are sets of addresses with timeouts.
	learned4, learned6 *nftables.Set
	// until says until when the kernel has an address that was learned. It is guarded by mu.
	until map[netip.Addr]time.Time
}

// Open makes the inside half in the network namespace of the calling thread, which Setup has put the pair's other end into:
// its address and default routes, the rules, and then forwarding. networks are all of the environment's. Forwarding is
// switched on last, so that nothing passes before there are rules.
//
// Services need default routes by their bridge in the families that link has: one without IPv6 has no way out by it, and a
// service without that route fails at once.
func Open(link Link, policy Policy, networks []Network) (*Rules, error) {
	if err := policy.Validate(); err != nil {
		return nil, err
	}
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open the way out: %w", err)
	}
	r := &Rules{
		policy: policy, conn: conn, until: map[netip.Addr]time.Time{},
		table: &nftables.Table{Family: nftables.TableFamilyINet, Name: insideTable},
	}
	for _, step := range []func() error{
		func() error { return r.addTable(networks) },
		func() error { return addUplink(link) },
		func() error { return startForwarding(link) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("open the way out: %w", err), r.Close())
		}
	}
	return r, nil
}

// Close gives up the socket. The rules stay as long as the namespace.
func (r *Rules) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn.CloseLasting()
}

// addTable makes all rules in one transaction.
func (r *Rules) addTable(networks []Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn.AddTable(r.table)
	drop := nftables.ChainPolicyDrop
	// What matches no rule is dropped: what comes from outside by itself, and what goes from one network to another.
	forward := r.conn.AddChain(&nftables.Chain{
		Name: "forward", Table: r.table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	input := r.conn.AddChain(&nftables.Chain{
		Name: "input", Table: r.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	nat := r.conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: r.table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	out := r.conn.AddChain(&nftables.Chain{Name: "out", Table: r.table})
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: slices.Concat(parts...)})
	}

	add(forward, established(), verdict(expr.VerdictAccept))
	for _, n := range networks {
		// Where br_netfilter is loaded, as engines do it, what a bridge passes from one service to another comes by here too.
		add(forward, fromInterface(n.Bridge), toInterface(n.Bridge, expr.CmpOpEq), verdict(expr.VerdictAccept))
		if !n.Internal {
			add(forward, fromInterface(n.Bridge), toInterface(Uplink, expr.CmpOpEq),
				[]expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: out.Name}})
		}
	}
	// Nobody outside talks to the environment itself, to its DNS server say.
	add(input, fromInterface(Uplink), established(), verdict(expr.VerdictAccept))
	// What IPv6 has in place of ARP is a packet like others.
	add(input, fromInterface(Uplink), neighbourDiscovery(), verdict(expr.VerdictAccept))
	add(input, fromInterface(Uplink), verdict(expr.VerdictDrop))
	// The host knows one address of the environment.
	add(nat, toInterface(Uplink, expr.CmpOpEq), []expr.Any{&expr.Masq{}})

	if r.policy.All {
		add(out, verdict(expr.VerdictAccept))
	} else if err := r.addAllowed(func(parts ...[]expr.Any) { add(out, parts...) }); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("add nftables table %q: %w", insideTable, err)
	}
	return nil
}

// addAllowed adds what a policy of prefixes and names lets out; the rest is told that it is not. r.mu is held.
func (r *Rules) addAllowed(add func(...[]expr.Any)) error {
	for _, v4 := range []bool{true, false} {
		name, keyType, any := "6", nftables.TypeIP6Addr, netip.IPv6Unspecified()
		if v4 {
			name, keyType, any = "4", nftables.TypeIPAddr, netip.IPv4Unspecified()
		}
		prefixes := &nftables.Set{Table: r.table, Name: "prefixes" + name, KeyType: keyType, Interval: true}
		learned := &nftables.Set{Table: r.table, Name: "learned" + name, KeyType: keyType, HasTimeout: true}
		if err := r.conn.AddSet(prefixes, intervals(r.policy.Prefixes, v4)); err != nil {
			return fmt.Errorf("add nftables set %q: %w", prefixes.Name, err)
		}
		if err := r.conn.AddSet(learned, nil); err != nil {
			return fmt.Errorf("add nftables set %q: %w", learned.Name, err)
		}
		for _, set := range []*nftables.Set{prefixes, learned} {
			add(family(any), []expr.Any{addressOf(destination, v4), &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}},
				verdict(expr.VerdictAccept))
		}
		if v4 {
			r.learned4 = learned
		} else {
			r.learned6 = learned
		}
	}
	// A reset, since TCP drops an ICMP error that comes while connect(2) still holds the socket, which here it does, and
	// tries again a second later.
	add([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
	})
	add([]expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
	return nil
}

// intervals writes prefixes of one family as a set of intervals has them: each a first address, and the first one after its
// end. Prefixes within others are left out, since intervals may not overlap.
func intervals(prefixes []netip.Prefix, v4 bool) []nftables.SetElement {
	var elements []nftables.SetElement
	for i, p := range prefixes {
		within := slices.ContainsFunc(prefixes, func(o netip.Prefix) bool { return o.Bits() < p.Bits() && o.Contains(p.Addr()) })
		if p.Addr().Is4() != v4 || within || slices.Contains(prefixes[:i], p) {
			continue
		}
		elements = append(elements, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := after(p); end.IsValid() {
			elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}

// after is the address that follows a prefix; not valid after the last one.
func after(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	end, _ := netip.AddrFromSlice(b)
	return end.Next()
}

// Learn lets out to what a name resolved to, for as long as that holds and some minutes more. It does nothing for a name
// that the policy does not allow, and where all is let out. It is made to be names.Options.Learn.
func (r *Rules) Learn(name string, addresses []names.Resolved) error {
	if r.policy.All || !r.policy.AllowsName(name) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range addresses {
		if err := r.learnLocked(a, time.Now()); err != nil {
			return fmt.Errorf("let out to %s, an address of %q: %w", a.Address, name, err)
		}
	}
	return nil
}

func (r *Rules) learnLocked(a names.Resolved, now time.Time) error {
	lifetime := a.TTL + grace
	known, is := r.until[a.Address]
	if is && known.Sub(now) > a.TTL+grace-refresh {
		return nil
	}
	set := r.learned6
	if a.Address.Is4() {
		set = r.learned4
	}
	element := []nftables.SetElement{{Key: a.Address.AsSlice(), Timeout: lifetime}}
	// Adding what is there does not make it last longer: it is taken out in the same transaction, which fails where it has
	// just run out.
	for _, there := range []bool{is, false} {
		if there {
			if err := r.conn.SetDeleteElements(set, []nftables.SetElement{{Key: a.Address.AsSlice()}}); err != nil {
				return err
			}
		}
		if err := r.conn.SetAddElements(set, element); err != nil {
			return err
		}
		err := r.conn.Flush()
		if err == nil {
			break
		}
		if !there || !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	r.until[a.Address] = now.Add(lifetime)
	for address, end := range r.until {
		if end.Before(now) {
			delete(r.until, address)
		}
	}
	return nil
}

// addUplink gives the pair's end its addresses and the default routes.
func addUplink(link Link) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	uplink, err := h.LinkByName(Uplink)
	if err != nil {
		return fmt.Errorf("find interface %q: %w", Uplink, err)
	}
	if err := h.LinkSetUp(uplink); err != nil {
		return fmt.Errorf("bring up interface %q: %w", Uplink, err)
	}
	for _, ends := range [][2]netip.Prefix{{link.Inside, link.Host}, {link.Inside6, link.Host6}} {
		inside, gateway := ends[0], ends[1].Addr()
		if !inside.IsValid() {
			continue
		}
		address := &netlink.Addr{IPNet: &net.IPNet{IP: inside.Addr().AsSlice(), Mask: net.CIDRMask(inside.Bits(), inside.Addr().BitLen())}}
		if inside.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(uplink, address); err != nil {
			return fmt.Errorf("add address %s to interface %q: %w", inside, Uplink, err)
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("add default route by %s: %w", gateway, err)
		}
	}
	return nil
}

func startForwarding(link Link) error {
	if err := write(forwarding4, "1"); err != nil {
		return err
	}
	if !link.Inside6.IsValid() {
		return nil
	}
	return write(forwarding6, "1")
}
