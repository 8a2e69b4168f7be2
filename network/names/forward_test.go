package names_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sandboxrun/sandboxrun/network/names"
)

// upstream is a resolver outside, which answers by UDP and TCP on one port.
func upstream(t testing.TB, address string, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		var running sync.WaitGroup
		started := make(chan struct{})
		server := &dns.Server{Addr: address, Net: network, Handler: handle, NotifyStartedFunc: func() { close(started) }}
		running.Go(func() {
			if err := server.ListenAndServe(); err != nil {
				t.Error(err)
			}
		})
		<-started
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
			running.Wait()
		})
	}
	return netip.MustParseAddrPort(address)
}

// world answers as the world would.
func world(w dns.ResponseWriter, m *dns.Msg) {
	reply := new(dns.Msg).SetReply(m)
	q := m.Question[0]
	name := strings.ToLower(q.Name)
	add := func(text string) {
		r, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		reply.Answer = append(reply.Answer, r)
	}
	switch {
	case name == "shop.example.com." && q.Qtype == dns.TypeA:
		add(q.Name + " 300 IN CNAME far.example.net.")
		add("far.example.net. 60 IN A 192.0.2.10")
		add("far.example.net. 30 IN A 192.0.2.11")
	case name == "shop.example.com." && q.Qtype == dns.TypeAAAA:
		add(q.Name + " 300 IN AAAA 2001:db8::10")
	case name == "shop.example.com.":
	case name == "long.example.com.":
		for i := range 100 {
			add(fmt.Sprintf("%s 60 IN TXT %q", q.Name, strings.Repeat("x", 50)+fmt.Sprint(i)))
		}
		if _, udp := w.RemoteAddr().(interface{ Network() string }); udp && w.RemoteAddr().Network() == "udp" {
			reply.Truncate(512)
		}
	default:
		reply.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(reply)
}

func TestNamesOfTheWorld(t *testing.T) {
	asked := make(chan string, 100)
	at := upstream(t, "127.0.20.200:20054", func(w dns.ResponseWriter, m *dns.Msg) {
		asked <- m.Question[0].Name
		world(w, m)
	})
	var mu sync.Mutex
	learned := map[string][]names.Resolved{}
	shop(t, names.Options{
		Upstreams: []netip.AddrPort{at},
		Forward: func(name string) bool {
			return strings.HasSuffix(name, "example.com") || strings.HasSuffix(name, ".arpa")
		},
		Learn: func(name string, resolved []names.Resolved) error {
			mu.Lock()
			defer mu.Unlock()
			learned[name] = append(learned[name], resolved...)
			return nil
		},
	})
	set := func(addresses ...string) (all []names.Resolved) {
		for i, a := range addresses {
			all = append(all, names.Resolved{Address: netip.MustParseAddr(a), TTL: []time.Duration{time.Minute, 30 * time.Second}[i]})
		}
		return all
	}
	for _, tt := range []struct {
		name, from, server string
		network            string
		question           string
		kind               uint16
		code, answers      int
		cut, outside       bool
	}{
		{name: "a name", network: "udp", question: "Shop.Example.com.", kind: dns.TypeA, answers: 3, outside: true},
		{name: "a name by TCP", network: "tcp", question: "shop.example.com.", kind: dns.TypeA, answers: 3, outside: true},
		{name: "no answer", network: "udp", question: "shop.example.com.", kind: dns.TypeMX, outside: true},
		{name: "no such name", network: "udp", question: "none.example.com.", kind: dns.TypeA, code: dns.RcodeNameError, outside: true},
		{name: "a long answer", network: "tcp", question: "long.example.com.", kind: dns.TypeTXT, answers: 100, outside: true},
		{name: "a long answer by UDP", network: "udp", question: "long.example.com.", kind: dns.TypeTXT, cut: true, outside: true},
		{name: "an address elsewhere", network: "udp", question: "10.2.0.192.in-addr.arpa.", kind: dns.TypePTR, code: dns.RcodeNameError, outside: true},
		{name: "an address of ours", network: "udp", question: "99.20.0.127.in-addr.arpa.", kind: dns.TypePTR, code: dns.RcodeNameError},
		{name: "a loopback address", network: "udp", question: "1.0.0.127.in-addr.arpa.", kind: dns.TypePTR, code: dns.RcodeNameError},
		{name: "not allowed", network: "udp", question: "evil.example.org.", kind: dns.TypeA, code: dns.RcodeNameError},
		{name: "one label", network: "udp", question: "example.", kind: dns.TypeA, code: dns.RcodeNameError},
		{name: "ours", network: "udp", question: "www.shop.test.", kind: dns.TypeA, answers: 1},
		{
			name: "from an internal network", from: "127.0.21.4", server: "127.0.21.1", network: "udp", question: "shop.example.com.",
			kind: dns.TypeA, code: dns.RcodeNameError,
		},
		{
			name: "from an internal network and another", from: "127.0.21.2", server: "127.0.21.1", network: "udp", question: "shop.example.com.",
			kind: dns.TypeA, answers: 3, outside: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.from == "" {
				tt.from, tt.server = "127.0.20.3", gateway
			}
			m := new(dns.Msg).SetQuestion(tt.question, tt.kind)
			reply := exchange(t, tt.network, tt.from, tt.server, m)
			if reply.Rcode != tt.code || len(reply.Answer) != tt.answers || reply.Truncated != tt.cut || reply.Question[0] != m.Question[0] {
				t.Errorf("got %v", reply)
			}
			outside := false
			for len(asked) > 0 {
				<-asked
				outside = true
			}
			if outside != tt.outside {
				t.Errorf("asked outside: %v", outside)
			}
		})
	}
	exchange(t, "udp", "127.0.20.3", gateway, new(dns.Msg).SetQuestion("SHOP.example.com.", dns.TypeAAAA))
	mu.Lock()
	defer mu.Unlock()
	want := slices.Concat(set("192.0.2.10", "192.0.2.11"), set("192.0.2.10", "192.0.2.11"), set("192.0.2.10", "192.0.2.11"),
		[]names.Resolved{{Address: netip.MustParseAddr("2001:db8::10"), TTL: 300 * time.Second}})
	if len(learned) != 1 || !slices.Equal(learned["shop.example.com"], want) {
		t.Errorf("learned %v, want %v", learned, want)
	}
}

func TestResolversThatFail(t *testing.T) {
	good := upstream(t, "127.0.20.201:20055", world)
	wrong := upstream(t, "127.0.20.202:20055", func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg).SetReply(m)
		reply.Id++
		_ = w.WriteMsg(reply)
		reply.Id--
		reply.Question[0].Name = "other.example.com."
		_ = w.WriteMsg(reply)
	})
	nobody := netip.MustParseAddrPort("127.0.20.203:20055")
	for _, tt := range []struct {
		name       string
		resolvers  []netip.AddrPort
		own, learn error
		code       int
	}{
		{"none", nil, nil, nil, dns.RcodeServerFailure},
		{"nobody there", []netip.AddrPort{nobody}, nil, nil, dns.RcodeServerFailure},
		{"the second answers", []netip.AddrPort{nobody, good}, nil, nil, dns.RcodeSuccess},
		{"the first makes things up", []netip.AddrPort{wrong, good}, nil, nil, dns.RcodeSuccess},
		{"the rules fail", []netip.AddrPort{good}, nil, errors.New("no more room"), dns.RcodeServerFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shop(t, names.Options{
				Upstreams: tt.resolvers, Forward: func(string) bool { return true },
				Learn: func(string, []names.Resolved) error { return tt.learn },
			})
			reply := exchange(t, "udp", "127.0.20.3", gateway, new(dns.Msg).SetQuestion("shop.example.com.", dns.TypeA))
			if reply.Rcode != tt.code {
				t.Errorf("got %v, want %s", reply, dns.RcodeToString[tt.code])
			}
		})
	}
}

func TestAnInstanceHasResolversOfItsOwn(t *testing.T) {
	own := upstream(t, "127.0.20.204:20056", world)
	server := shop(t, names.Options{Forward: func(string) bool { return true }})
	err := server.Set("web-2", names.Instance{
		Attachments: []names.Attachment{{Network: "front", Addresses: addresses("127.0.20.3"), Names: []string{"web"}}},
		Upstreams:   []netip.AddrPort{own},
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, code := range map[string]int{"127.0.20.3": dns.RcodeSuccess, "127.0.20.2": dns.RcodeServerFailure} {
		reply := exchange(t, "udp", from, gateway, new(dns.Msg).SetQuestion("shop.example.com.", dns.TypeA))
		if reply.Rcode != code {
			t.Errorf("from %s: got %v, want %s", from, reply, dns.RcodeToString[code])
		}
	}
}

func TestCloseBreaksOffWhatIsAsked(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	slow := upstream(t, "127.0.20.205:20057", func(dns.ResponseWriter, *dns.Msg) {
		close(reached)
		<-release
	})
	t.Cleanup(func() { close(release) })
	server := shop(t, names.Options{Upstreams: []netip.AddrPort{slow}, Forward: func(string) bool { return true }})
	c, err := dns.DialTimeout("udp", netip.AddrPortFrom(netip.MustParseAddr(gateway), port).String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMsg(new(dns.Msg).SetQuestion("slow.example.com.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	<-reached
	began := time.Now()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}
