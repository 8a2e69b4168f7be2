package names

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func FuzzServer(f *testing.F) {
	server := NewServer(Options{Forward: func(name string) bool { return len(name)%2 == 0 }})
	server.zone.addNetwork(Network{Name: "front", Subnets: []netip.Prefix{netip.MustParsePrefix("172.20.0.0/16")}})
	at := Attachment{Network: "front", Names: []string{"web", "many"}}
	for i := range 60 {
		at.Addresses = append(at.Addresses, netip.AddrFrom4([4]byte{172, 20, 0, byte(i + 2)}))
	}
	if err := server.Set("web-1", Instance{Attachments: []Attachment{at}}); err != nil {
		f.Fatal(err)
	}
	from := source{address: netip.MustParseAddr("172.20.0.2"), network: "front"}
	for _, name := range []string{"web.", "WEB.front.", "nobody.", "example.com.", ".", "2.0.20.172.in-addr.arpa.", "x.ip6.arpa."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeALL, dnsmessage.TypePTR, typeAXFR} {
			q := query{question: dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}, edns: true}
			message, _, err := q.upstreamQuestion()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(message, false)
			f.Add(message[:len(message)-optSize], true)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		q, reply := server.read(packet, from, tcp)
		if q != nil {
			if reply != nil {
				t.Fatal("both an answer and a question to the outside")
			}
			if _, _, err := q.upstreamQuestion(); err != nil {
				t.Errorf("%x: cannot be asked outside: %v", packet, err)
			}
			reply = q.refuse(serverFailure)
		}
		if reply == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("%x: the reply %x cannot be read: %v", packet, reply, err)
		}
		if !m.Response || m.ID != uint16(packet[0])<<8|uint16(packet[1]) || len(m.Questions) > 1 {
			t.Errorf("%x: got %+v", packet, m.Header)
		}
		if limit := largestSize; !tcp && len(reply) > limit {
			t.Errorf("%x: the reply has %d bytes", packet, len(reply))
		}
	})
}

func FuzzUpstreamReply(f *testing.F) {
	q := query{question: dnsmessage.Question{Name: dnsmessage.MustNewName("a.b."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}, limit: 512}
	f.Add([]byte{})
	f.Add(q.answer([]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}))
	f.Add(q.answerName("c.d"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if q.matches(reply, 0) != nil {
			return
		}
		resolved, _ := addressesOf(reply)
		for _, r := range resolved {
			if !r.Address.IsValid() || r.TTL < 0 {
				t.Errorf("%x: got %+v", reply, r)
			}
		}
		if got := q.pass(reply); len(got) > q.limit {
			t.Errorf("%x: %d bytes are passed on", reply, len(got))
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	server := NewServer(Options{})
	from := source{address: netip.MustParseAddr("172.20.0.2"), network: "front"}
	at := Attachment{Network: "front", Names: []string{"web"}, Addresses: []netip.Addr{from.address}}
	if err := server.Set("web-1", Instance{Attachments: []Attachment{at}}); err != nil {
		b.Fatal(err)
	}
	q := query{question: dnsmessage.Question{Name: dnsmessage.MustNewName("web."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}
	packet, _, err := q.upstreamQuestion()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, reply := server.read(packet, from, false); reply == nil {
			b.Fatal("no reply")
		}
	}
}
