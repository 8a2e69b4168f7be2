package names_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/sandboxrun/sandboxrun/network/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is on loopback, all of which is local: a client with another address of it asks as an instance with that address.
const gateway = "127.0.20.1"

const port = 20053

func start(t testing.TB, options names.Options, networks ...names.Network) *names.Server {
	t.Helper()
	options.Port = port
	server := names.NewServer(options)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, n := range networks {
		if err := server.AddNetwork(n); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

func set(t testing.TB, server *names.Server, name string, attachments ...names.Attachment) {
	t.Helper()
	if err := server.Set(name, names.Instance{Attachments: attachments}); err != nil {
		t.Fatal(err)
	}
}

func addresses(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range texts {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// front and back are two networks; web is on both, db on back only.
func shop(t testing.TB, options names.Options) *names.Server {
	t.Helper()
	server := start(t, options,
		names.Network{Name: "front", Gateways: addresses(gateway), Subnets: []netip.Prefix{netip.MustParsePrefix("127.0.20.0/24")}},
		names.Network{
			Name: "back", Gateways: addresses("127.0.21.1"), Subnets: []netip.Prefix{netip.MustParsePrefix("127.0.21.0/24")}, Internal: true,
		})
	set(t, server, "web-1",
		names.Attachment{Network: "front", Addresses: addresses("127.0.20.2", "fd00:20::2"), Names: []string{"web-1", "web", "www.shop.test"}},
		names.Attachment{Network: "back", Addresses: addresses("127.0.21.2"), Names: []string{"web-1", "web"}})
	set(t, server, "web-2",
		names.Attachment{Network: "front", Addresses: addresses("127.0.20.3"), Names: []string{"web-2", "web"}})
	set(t, server, "db-1",
		names.Attachment{Network: "back", Addresses: addresses("127.0.21.4"), Names: []string{"db-1", "db"}})
	return server
}

func TestWhoSeesWhichNames(t *testing.T) {
	shop(t, names.Options{})
	for _, tt := range []struct {
		name         string
		from, server string
		question     string
		kind         uint16
		code         int
		want         []string
	}{
		{"a neighbour", "127.0.20.3", gateway, "web-1.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.20.2"}},
		{"in capitals", "127.0.20.3", gateway, "WeB-1.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.20.2"}},
		{"by IPv6", "127.0.20.3", gateway, "web-1.", dns.TypeAAAA, dns.RcodeSuccess, []string{"fd00:20::2"}},
		{"without IPv6", "127.0.20.2", gateway, "web-2.", dns.TypeAAAA, dns.RcodeSuccess, nil},
		{"of another type", "127.0.20.2", gateway, "web-2.", dns.TypeMX, dns.RcodeSuccess, nil},
		{"of all types", "127.0.20.3", gateway, "web-1.", dns.TypeANY, dns.RcodeSuccess, []string{"127.0.20.2", "fd00:20::2"}},
		{"all replicas", "127.0.20.4", gateway, "web.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.20.2", "127.0.20.3"}},
		{"an alias with dots", "127.0.20.3", gateway, "www.shop.test.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.20.2"}},
		{"with its network", "127.0.20.3", gateway, "web-1.front.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.20.2"}},
		{"with a network that is not ours", "127.0.20.3", gateway, "db.back.", dns.TypeA, dns.RcodeNameError, nil},
		{"on a network that is not ours", "127.0.20.3", gateway, "db.", dns.TypeA, dns.RcodeNameError, nil},
		{"on another of our networks", "127.0.20.2", gateway, "db.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.21.4"}},
		{"on both, the nearer first", "127.0.21.2", "127.0.21.1", "web-1.", dns.TypeA, dns.RcodeSuccess, []string{"127.0.21.2", "127.0.20.2"}},
		{"of nobody", "127.0.20.2", gateway, "nobody.", dns.TypeAAAA, dns.RcodeNameError, nil},
		{"outside", "127.0.20.2", gateway, "example.com.", dns.TypeA, dns.RcodeNameError, nil},
		{"a neighbour's address", "127.0.20.3", gateway, "2.20.0.127.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, []string{"web-1."}},
		{"an IPv6 address", "127.0.20.3", gateway, reverse(t, "fd00:20::2"), dns.TypePTR, dns.RcodeSuccess, []string{"web-1."}},
		{"an address of nobody", "127.0.20.3", gateway, "9.20.0.127.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, nil},
		{"an address of another network", "127.0.20.3", gateway, "4.21.0.127.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, nil},
		{"the root", "127.0.20.3", gateway, ".", dns.TypeA, dns.RcodeSuccess, nil},
		{"a whole zone", "127.0.20.3", gateway, "front.", dns.TypeAXFR, dns.RcodeRefused, nil},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(tt.name+" by "+network, func(t *testing.T) {
				m := new(dns.Msg).SetQuestion(tt.question, tt.kind)
				reply := exchange(t, network, tt.from, tt.server, m)
				if reply.Rcode != tt.code || !slices.Equal(sortedUnlessNear(answers(reply), tt.want), tt.want) {
					t.Errorf("got %s %v, want %s %v", dns.RcodeToString[reply.Rcode], answers(reply), dns.RcodeToString[tt.code], tt.want)
				}
				if len(reply.Question) != 1 || reply.Question[0] != m.Question[0] {
					t.Errorf("the question came back as %v, was %v", reply.Question, m.Question)
				}
			})
		}
	}
}
