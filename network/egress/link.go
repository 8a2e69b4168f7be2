package egress

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// Uplink is the name of the pair's end in the environment's namespace.
	Uplink = "uplink"
	// What begins the names of all that Setup makes on the host.
	interfacePrefix = "sbx-"
	tablePrefix     = "sandboxrun-"
)

// pool is where the pair's IPv4 addresses come from: set aside for tests of devices (RFC 2544), in nobody's routing tables.
var pool = netip.MustParsePrefix("198.18.0.0/15")

// Link is the pair between the host and an environment. It is a plain value; Setup gives it, and Open needs it.
type Link struct {
	// Interface is the host's end, Table the nftables table on the host.
	Interface string `json:"interface"`
	Table     string `json:"table"`
	// Host and Inside are the addresses of the two ends; those of IPv6 are not valid where the host does not forward it.
	Host    netip.Prefix `json:"host"`
	Inside  netip.Prefix `json:"inside"`
	Host6   netip.Prefix `json:"host6,omitzero"`
	Inside6 netip.Prefix `json:"inside6,omitzero"`
	// Notices are sentences that the user should see: what was changed on the host beyond the pair, or what may be in
	// the way.
	Notices []string `json:"notices,omitempty"`
}

// hash is what the names on the host are made of. 50 bits: two of a thousand environments have the same with a probability of
// one in two billion.
func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:10])
}

// InterfaceName and TableName are what Setup makes on the host for a key.
func InterfaceName(key string) string { return interfacePrefix + hash(key) }

// TableName is that of the nftables table, of family inet.
func TableName(key string) string { return tablePrefix + hash(key) }

// choose takes four addresses of the pool that overlap nothing that is taken. Where it begins to look depends on the key, so
// that environments meet seldom.
func choose(key string, taken []netip.Prefix) (host, inside netip.Prefix, err error) {
	const bits = 30
	sum := sha256.Sum256([]byte(key))
	count := uint32(1) << (bits - pool.Bits())
	base := pool.Addr().As4()
	for i := range count {
		n := (binary.BigEndian.Uint32(sum[10:]) + i) % count
		candidate := netip.PrefixFrom(address4(binary.BigEndian.Uint32(base[:])+n<<(32-bits)), bits)
		if !overlaps(candidate, taken) {
			host := candidate.Addr().Next()
			return netip.PrefixFrom(host, bits), netip.PrefixFrom(host.Next(), bits), nil
		}
	}
	return host, inside, fmt.Errorf("cannot find addresses for the way out: this host has routes to all of %s; remove one", pool)
}

// choose6 makes a prefix of the key (RFC 4193), if nothing that is taken overlaps it.
func choose6(key string, taken []netip.Prefix) (host, inside netip.Prefix, ok bool) {
	sum := sha256.Sum256([]byte(key))
	b := [16]byte{0: 0xfd}
	copy(b[1:15], sum[10:])
	candidate := netip.PrefixFrom(netip.AddrFrom16(b), 126)
	h := candidate.Addr().Next()
	return netip.PrefixFrom(h, 126), netip.PrefixFrom(h.Next(), 126), !overlaps(candidate, taken)
}

// overlaps passes over default routes, which are everywhere.
func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	return slices.ContainsFunc(taken, func(t netip.Prefix) bool { return t.Bits() > 0 && t.Overlaps(p) })
}

func address4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
