package names_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sandboxrun/sandboxrun/network/names"
)

func TestReplicasTakeTurns(t *testing.T) {
	shop(t, names.Options{})
	first := map[uint16]map[string]int{dns.TypeA: {}}
	for range 10 {
		// As musl and glibc ask: both families in turn. Neither's turns are the other's.
		exchange(t, "udp", "127.0.20.9", gateway, new(dns.Msg).SetQuestion("web.", dns.TypeAAAA))
		reply := exchange(t, "udp", "127.0.20.9", gateway, new(dns.Msg).SetQuestion("web.", dns.TypeA))
		first[dns.TypeA][answers(reply)[0]]++
	}
	if got := first[dns.TypeA]; got["127.0.20.2"] != 5 || got["127.0.20.3"] != 5 {
		t.Errorf("first were %v, want both alike", got)
	}
}

func TestNamesComeAndGo(t *testing.T) {
	server := shop(t, names.Options{})
	look := func(name string) string {
		t.Helper()
		reply := exchange(t, "udp", "127.0.20.9", gateway, new(dns.Msg).SetQuestion(name, dns.TypeA))
		return fmt.Sprint(dns.RcodeToString[reply.Rcode], sortedUnlessNear(answers(reply), nil))
	}
	ptr := func() string {
		t.Helper()
		reply := exchange(t, "udp", "127.0.20.9", gateway, new(dns.Msg).SetQuestion("2.20.0.127.in-addr.arpa.", dns.TypePTR))
		return fmt.Sprint(dns.RcodeToString[reply.Rcode], answers(reply))
	}
	for _, step := range []struct {
		name           string
		do             func()
		web, web1, ptr string
	}{
		{"at first", func() {}, "NOERROR[127.0.20.2 127.0.20.3]", "NOERROR[127.0.20.2]", "NOERROR[web-1.]"},
		{"one has stopped", func() { server.Delete("web-1") }, "NOERROR[127.0.20.3]", "NXDOMAIN[]", "NXDOMAIN[]"},
		{"again", func() { server.Delete("web-1") }, "NOERROR[127.0.20.3]", "NXDOMAIN[]", "NXDOMAIN[]"},
		{"both have stopped", func() { server.Delete("web-2") }, "NXDOMAIN[]", "NXDOMAIN[]", "NXDOMAIN[]"},
		{
			"it is back elsewhere",
			func() {
				set(t, server, "web-1", names.Attachment{Network: "front", Addresses: addresses("127.0.20.7"), Names: []string{"web-1", "web"}})
			},
			"NOERROR[127.0.20.7]", "NOERROR[127.0.20.7]", "NXDOMAIN[]",
		},
		{
			"it has moved",
			func() {
				set(t, server, "web-1", names.Attachment{Network: "front", Addresses: addresses("127.0.20.2"), Names: []string{"Web-1", "web", "WEB"}})
			},
			"NOERROR[127.0.20.2]", "NOERROR[127.0.20.2]", "NOERROR[Web-1.]",
		},
		{
			"two have a name without addresses",
			func() {
				set(t, server, "web-1", names.Attachment{Network: "front", Names: []string{"web"}})
				set(t, server, "web-2", names.Attachment{Network: "front", Names: []string{"web"}})
			},
			"NOERROR[]", "NXDOMAIN[]", "NXDOMAIN[]",
		},
		{"and go", func() { server.Delete("web-1"); server.Delete("web-2") }, "NXDOMAIN[]", "NXDOMAIN[]", "NXDOMAIN[]"},
	} {
		step.do()
		if web, web1, ptr := look("web."), look("web-1."), ptr(); web != step.web || web1 != step.web1 || ptr != step.ptr {
			t.Errorf("%s: web is %s, web-1 is %s, the address %s; want %s, %s, %s", step.name, web, web1, ptr, step.web, step.web1, step.ptr)
		}
	}
}

func TestALongAnswerIsCut(t *testing.T) {
	server := shop(t, names.Options{})
	const replicas = 100
	for i := range replicas {
		set(t, server, fmt.Sprint("many-", i), names.Attachment{
			Network: "front", Addresses: addresses(fmt.Sprintf("127.0.20.%d", i+100), fmt.Sprintf("fd00:20::%x", i+100)), Names: []string{"many"},
		})
	}
	question := func(kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion("many.", kind) }
	for _, tt := range []struct {
		name    string
		network string
		m       *dns.Msg
		most    int
		cut     bool
	}{
		{"plain", "udp", question(dns.TypeA), 512, true},
		{"plain IPv6", "udp", question(dns.TypeAAAA), 512, true},
		{"with a size that is too small", "udp", question(dns.TypeA).SetEdns0(100, false), 512, true},
		{"with a size", "udp", question(dns.TypeA).SetEdns0(1000, true), 1000, true},
		{"with a size that is too large", "udp", question(dns.TypeA).SetEdns0(65535, false), 1232, true},
		{"by TCP", "tcp", question(dns.TypeA), 65535, false},
		{"all by TCP", "tcp", question(dns.TypeANY).SetEdns0(1232, false), 65535, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if o := tt.m.IsEdns0(); o != nil {
				// The client takes what the server sends, to measure it.
				tt.m.Extra = []dns.RR{o}
			}
			reply := exchange(t, tt.network, "127.0.20.9", gateway, tt.m)
			reply.Compress = true
			size, record := reply.Len(), 16
			if tt.m.Question[0].Qtype == dns.TypeAAAA {
				record = 28
			}
			if size > tt.most || tt.cut && size+record <= tt.most {
				t.Errorf("%d bytes of %d, with %d records", size, tt.most, len(reply.Answer))
			}
			if reply.Truncated != tt.cut || !tt.cut && len(reply.Answer) < replicas {
				t.Errorf("truncated is %v, with %d records", reply.Truncated, len(reply.Answer))
			}
			asked, got := tt.m.IsEdns0(), reply.IsEdns0()
			if (asked == nil) != (got == nil) || got != nil && (got.UDPSize() != 1232 || got.Do() != asked.Do() || got.Version() != 0) {
				t.Errorf("asked with %v, answered with %v", asked, got)
			}
		})
	}
}

func TestStrangeMessages(t *testing.T) {
	shop(t, names.Options{})
	pack := func(change func(*dns.Msg)) []byte {
		t.Helper()
		m := new(dns.Msg).SetQuestion("web.", dns.TypeA)
		m.Id = 0x1234
		change(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	for _, tt := range []struct {
		name   string
		packet []byte
		code   int // -1: no reply
	}{
		{"a reply", pack(func(m *dns.Msg) { m.Response = true }), -1},
		{"nothing", nil, -1},
		{"half a header", pack(func(*dns.Msg) {})[:11], -1},
		{"no question", pack(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"half a question", pack(func(*dns.Msg) {})[:14], dns.RcodeFormatError},
		{"two questions", pack(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"an update", pack(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"a notification", pack(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"of chaos", pack(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"a transfer", pack(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }), dns.RcodeRefused},
		{"two sizes", pack(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetEdns0(1232, false) }), dns.RcodeFormatError},
		{"of a later version", pack(func(m *dns.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		{"a pointer to itself", append(pack(func(*dns.Msg) {})[:12], 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(gateway), port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(tt.packet); err != nil {
				t.Fatal(err)
			}
			if tt.code == -1 {
				// The next question's answer comes first: there was none to this.
				tt.packet, tt.code = pack(func(m *dns.Msg) { m.Id = 0x4321 }), dns.RcodeSuccess
				if _, err := c.Write(tt.packet); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 1500)
			n, err := c.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			var reply dns.Msg
			if err := reply.Unpack(buffer[:n]); err != nil {
				t.Fatal(err)
			}
			if reply.Rcode != tt.code || !reply.Response || reply.Id != uint16(tt.packet[0])<<8|uint16(tt.packet[1]) {
				t.Errorf("got %v, want %s", &reply, dns.RcodeToString[tt.code])
			}
		})
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, good := range map[string]bool{
		"web": true, "my_service": true, "a.b.c": true, "x-1": true, label: true,
		label + "." + label + "." + label + "." + label[:61]: true,
		"": false, ".": false, "a..b": false, ".a": false, "a.": false, label + "a": false, "a b": false, "a\n": false, "ä": false,
		label + "." + label + "." + label + "." + label[:62]: false,
	} {
		if err := names.ValidateName(name); (err == nil) != good {
			t.Errorf("%q: got %v", name, err)
		}
	}
	server := names.NewServer(names.Options{})
	defer server.Close()
	err := server.Set("web-1", names.Instance{Attachments: []names.Attachment{{Network: "front", Names: []string{"a b"}}}})
	if err == nil || !strings.Contains(err.Error(), `instance "web-1"`) {
		t.Errorf("got %v", err)
	}
}

func TestAGatewayThatIsNotOurs(t *testing.T) {
	server := names.NewServer(names.Options{Port: port})
	err := server.AddNetwork(names.Network{Name: "front", Gateways: addresses(gateway, "192.0.2.77")})
	if err == nil || !strings.Contains(err.Error(), `names of network "front"`) {
		t.Errorf("got %v", err)
	}
	// What had been opened is closed again: the address is free.
	if err := server.AddNetwork(names.Network{Name: "front", Gateways: addresses(gateway)}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := server.AddNetwork(names.Network{Name: "front", Gateways: addresses(gateway)}); err == nil {
		t.Error("a closed server listens")
	}
}

func TestOneClientCannotHoldAllConnections(t *testing.T) {
	shop(t, names.Options{})
	at := netip.AddrPortFrom(netip.MustParseAddr(gateway), port).String()
	for range 40 {
		c, err := (&net.Dialer{LocalAddr: local("tcp", "127.0.20.66")}).Dial("tcp", at)
		if err != nil {
			continue // refused in the end
		}
		defer c.Close()
	}
	reply := exchange(t, "tcp", "127.0.20.3", gateway, new(dns.Msg).SetQuestion("web-1.", dns.TypeA))
	if !slices.Equal(answers(reply), []string{"127.0.20.2"}) {
		t.Errorf("got %v", reply)
	}
}

func TestParseResolvConf(t *testing.T) {
	got := names.ParseResolvConf([]byte("# a\nnameserver 127.0.0.53\nnameserver\nnameserver x\n nameserver\tfe80::1%eth0 # b\nsearch x\nnameserver 1.1.1.1\nnameserver 2.2.2.2"))
	want := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.53:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("1.1.1.1:53"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 127.0.0.53\nsearch a\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		servers := names.ParseResolvConf(content)
		if len(servers) > 3 {
			t.Errorf("%d servers", len(servers))
		}
		var again bytes.Buffer
		for _, s := range servers {
			fmt.Fprintf(&again, "nameserver %s\n", s.Addr())
		}
		if read := names.ParseResolvConf(again.Bytes()); !slices.Equal(read, servers) {
			t.Errorf("%v became %v", servers, read)
		}
	})
}
