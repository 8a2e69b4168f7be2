package egress

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// addTable makes the host's rules for one pair, in one transaction.
func (h *host) addTable(link Link) error {
	table := h.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: link.Table})
	forward := h.nft.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	nat := h.nft.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		h.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(parts...)})
	}
	for _, inside := range []netip.Prefix{link.Inside, link.Inside6} {
		if !inside.IsValid() {
			continue
		}
		// Nobody else's address may come from the environment, for which the way back would be another's.
		add(forward, fromInterface(link.Interface), family(inside.Addr()), address(source, inside.Addr(), expr.CmpOpNeq), verdict(expr.VerdictDrop))
		add(nat, family(inside.Addr()), address(source, inside.Addr(), expr.CmpOpEq), toInterface(link.Interface, expr.CmpOpNeq),
			[]expr.Any{&expr.Masq{}})
	}
	// Nobody on the host's networks reaches in.
	add(forward, toInterface(link.Interface, expr.CmpOpEq), established(), verdict(expr.VerdictAccept))
	add(forward, toInterface(link.Interface, expr.CmpOpEq), verdict(expr.VerdictDrop))
	if err := h.nft.Flush(); err != nil {
		return fmt.Errorf("add nftables table %q: %w", link.Table, err)
	}
	return nil
}

// tables names all nftables tables of family inet.
func (h *host) tables() ([]string, error) {
	tables, err := h.nft.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var found []string
	for _, t := range tables {
		found = append(found, t.Name)
	}
	return found, nil
}

// deleteTable deletes a table with all that is in it; one that is not there is no error.
func (h *host) deleteTable(name string) error {
	h.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	if err := h.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %q: %w", name, err)
	}
	return nil
}

// passageChains are where rules of a user belong that docker's own (policy drop of everything forwarded) shall not stop, in
// the order that we try them. Both are of table filter, family ip, as iptables on nftables makes it.
var passageChains = []string{"DOCKER-USER", "FORWARD"}

// letPast lets the pair's traffic past a firewall whose default is to drop what is forwarded, as docker's is: an accept in
// our own table does not undo a drop in another. The rules have the form of iptables' own, which it can list and keep.
func (h *host) letPast(link *Link) error {
	chains, err := h.nft.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, c := range chains {
		forwards := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward
		if !forwards || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if c.Table.Family != nftables.TableFamilyIPv4 || c.Table.Name != "filter" || c.Name != "FORWARD" {
			link.Notices = append(link.Notices, fmt.Sprintf(
				"chain %s of nftables table %s drops what is forwarded; let interface %s pass there if nothing comes out",
				c.Name, c.Table.Name, link.Interface))
			continue
		}
		at := c
		if i := slices.IndexFunc(chains, isPassage(passageChains[0])); i >= 0 {
			at = chains[i]
		}
		for _, match := range [][]expr.Any{fromInterface(link.Interface), toInterface(link.Interface, expr.CmpOpEq)} {
			h.nft.InsertRule(&nftables.Rule{
				Table: at.Table, Chain: at, Exprs: slices.Concat(match, []expr.Any{&expr.Counter{}}, verdict(expr.VerdictAccept)),
			})
		}
		if err := h.nft.Flush(); err != nil {
			return fmt.Errorf("let interface %q past chain %q: %w", link.Interface, at.Name, err)
		}
	}
	return nil
}

func isPassage(name string) func(*nftables.Chain) bool {
	return func(c *nftables.Chain) bool {
		return c.Table.Family == nftables.TableFamilyIPv4 && c.Table.Name == "filter" && c.Name == name
	}
}

// removePassage deletes the rules of letPast, found by the interface's name in them.
func (h *host) removePassage(name string) error {
	chains, err := h.nft.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, passage := range passageChains {
		i := slices.IndexFunc(chains, isPassage(passage))
		if i < 0 {
			continue
		}
		rules, err := h.nft.GetRules(chains[i].Table, chains[i])
		if err != nil {
			return fmt.Errorf("list rules of chain %q: %w", passage, err)
		}
		for _, r := range rules {
			if !slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
				cmp, ok := e.(*expr.Cmp)
				return ok && bytes.Equal(cmp.Data, interfaceBytes(name))
			}) {
				continue
			}
			if err := h.nft.DelRule(r); err != nil {
				return fmt.Errorf("delete rule of chain %q: %w", passage, err)
			}
		}
		if err := h.nft.Flush(); err != nil {
			return fmt.Errorf("delete rules of chain %q: %w", passage, err)
		}
	}
	return nil
}

// What rules are made of. Register 1 is used by each part for itself.

type direction int

const (
	source direction = iota
	destination
)

// interfaceBytes is a name as the kernel compares it: IFNAMSIZ bytes, the rest zero.
func interfaceBytes(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func fromInterface(name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceBytes(name)},
	}
}

func toInterface(name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: interfaceBytes(name)},
	}
}

// family matches packets of an address's family: a table of family inet sees both.
func family(a netip.Addr) []expr.Any {
	protocol := byte(unix.NFPROTO_IPV6)
	if a.Is4() {
		protocol = unix.NFPROTO_IPV4
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
	}
}

// addressOf loads a packet's address: at 12 and 16 of an IPv4 header, at 8 and 24 of an IPv6 one.
func addressOf(d direction, v4 bool) expr.Any {
	offset, length := uint32(12), uint32(4)
	if !v4 {
		offset, length = 8, 16
	}
	if d == destination {
		offset += length
	}
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func address(d direction, a netip.Addr, op expr.CmpOp) []expr.Any {
	return []expr.Any{addressOf(d, a.Is4()), &expr.Cmp{Op: op, Register: 1, Data: a.AsSlice()}}
}

// established matches packets of connections that were let through at their beginning, and errors about them.
func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// neighbourDiscovery matches solicitations (135) and advertisements (136) of neighbours: RFC 4861.
func neighbourDiscovery() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{135}, ToData: []byte{136}},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }
