package names_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// exchange asks a server from an address.
func exchange(t testing.TB, network, from, server string, m *dns.Msg) *dns.Msg {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: local(network, from)}
	client := dns.Client{Net: network, Dialer: dialer, Timeout: 5 * time.Second}
	reply, _, err := client.ExchangeContext(t.Context(), m, netip.AddrPortFrom(netip.MustParseAddr(server), port).String())
	if err != nil {
		t.Fatalf("ask %s by %s: %v", server, network, err)
	}
	return reply
}

func local(network, address string) net.Addr {
	at := netip.AddrPortFrom(netip.MustParseAddr(address), 0)
	if network == "tcp" {
		return net.TCPAddrFromAddrPort(at)
	}
	return net.UDPAddrFromAddrPort(at)
}

// answers gives the values of a reply's answer in order.
func answers(m *dns.Msg) []string {
	var all []string
	for _, r := range m.Answer {
		switch r := r.(type) {
		case *dns.A:
			all = append(all, r.A.String())
		case *dns.AAAA:
			all = append(all, r.AAAA.String())
		case *dns.PTR:
			all = append(all, r.Ptr)
		default:
			all = append(all, r.String())
		}
	}
	return all
}

// sortedUnlessNear sorts what comes in a changing order: all but an answer whose order is asked for.
func sortedUnlessNear(got, want []string) []string {
	if slices.IsSorted(want) {
		slices.Sort(got)
	}
	return got
}

func reverse(t testing.TB, address string) string {
	t.Helper()
	name, err := dns.ReverseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
