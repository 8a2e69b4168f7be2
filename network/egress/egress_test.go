package egress_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/network/names"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

const (
	patience = 10 * time.Second
	// brief is how long is waited for what never comes.
	brief = 300 * time.Millisecond
	// atOnce is less than the second after which TCP tries again.
	atOnce = 900 * time.Millisecond
)

func TestWhatAPolicyLetsOut(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		policy  egress.Policy
		learn   map[string]string
		reached []string
		refused []string
	}{
		{name: "all", policy: egress.Policy{All: true}, reached: []string{"203.0.113.2", "203.0.113.3", "203.0.113.4"}},
		{
			name: "prefixes", policy: egress.Policy{Prefixes: networktest.Prefixes("203.0.113.2/31", "203.0.113.3/32", "198.51.100.0/24")},
			reached: []string{"203.0.113.2", "203.0.113.3"}, refused: []string{"203.0.113.4"},
		},
		{
			name: "names", policy: egress.Policy{Names: []string{"shop.example.com", "*.cdn.example.com"}},
			learn:   map[string]string{"Shop.example.com.": "203.0.113.2", "a.cdn.example.com": "203.0.113.3", "evil.example.com": "203.0.113.4"},
			reached: []string{"203.0.113.2", "203.0.113.3"}, refused: []string{"203.0.113.4"},
		},
		{
			name: "both", policy: egress.Policy{Prefixes: networktest.Prefixes("203.0.113.4/32"), Names: []string{"shop.example.com"}},
			learn:   map[string]string{"shop.example.com": "203.0.113.2"},
			reached: []string{"203.0.113.4", "203.0.113.2"}, refused: []string{"203.0.113.3"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := w.addEnvironment(t, t.Name(), tt.policy)
			for name, address := range tt.learn {
				learned := []names.Resolved{{Address: netip.MustParseAddr(address), TTL: time.Minute}}
				if err := e.rules.Learn(name, learned); err != nil {
					t.Fatal(err)
				}
			}
			for _, address := range tt.reached {
				// The outside sees the host, not the environment.
				if got, err := ask(t, e.front, address, patience); got != "203.0.113.1" || err != nil {
					t.Errorf("%s: got %q, %v", address, got, err)
				}
				if _, err := ask(t, e.back, address, brief); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
					t.Errorf("%s from the internal network: got %v, want nothing to come", address, err)
				}
			}
			if len(tt.refused) > 0 {
				if _, err := askUDP(t, e.front, "203.0.113.9"); !errors.Is(err, unix.EHOSTUNREACH) {
					t.Errorf("UDP: got %v, want a refusal", err)
				}
			}
			for _, address := range tt.refused {
				began := time.Now()
				if _, err := ask(t, e.front, address, patience); !errors.Is(err, unix.ECONNREFUSED) || time.Since(began) > atOnce {
					t.Errorf("%s: got %v after %v, want a refusal at once", address, err, time.Since(began))
				}
			}
		})
	}
}

func TestNothingComesInAndNetworksStayApart(t *testing.T) {
	w := newWorld(t)
	e := w.addEnvironment(t, t.Name(), egress.Policy{All: true})
	serve(t, e.namespace, e.link.Inside.Addr().String()+":80")
	serve(t, e.back, "172.21.0.2:80")
	if got, err := ask(t, e.namespace, e.link.Inside.Addr().String(), patience); err != nil {
		t.Fatalf("the server does not answer at home: %q, %v", got, err)
	}
	if _, err := ask(t, w.outside, e.link.Inside.Addr().String(), brief); !isTimeout(err) {
		t.Errorf("from outside: got %v, want nothing to come", err)
	}
	if _, err := ask(t, w.host, e.link.Inside.Addr().String(), brief); !isTimeout(err) {
		t.Errorf("from the host: got %v, want nothing to come", err)
	}
	if _, err := ask(t, e.front, "172.21.0.2", brief); !isTimeout(err) {
		t.Errorf("from one network to another: got %v, want nothing to come", err)
	}
}

// TestServicesOfANetworkReachEachOther holds where br_netfilter is loaded too, which shows frames of a bridge to the rules of
// what is forwarded.
func TestServicesOfANetworkReachEachOther(t *testing.T) {
	w := newWorld(t)
	e := w.addEnvironment(t, t.Name(), egress.Policy{Prefixes: networktest.Prefixes("203.0.113.2/32")})
	for bridge, address := range map[string]string{"front": "172.20.0.3", "back": "172.21.0.3"} {
		other := networktest.NewNamespace(t)
		if err := e.stack.Attach(other, network.Interface{Name: "eth0", Bridge: bridge, Addresses: networktest.Prefixes(address + "/16")}); err != nil {
			t.Fatal(err)
		}
		serve(t, other, address+":80")
	}
	for address, from := range map[string]*network.Namespace{"172.20.0.3": e.front, "172.21.0.3": e.back} {
		if got, err := ask(t, from, address, patience); err != nil {
			t.Errorf("%s: got %q, %v", address, got, err)
		}
	}
}

// TestTheHostIsOutside holds that what listens on the host is let out to by the same rules as anybody.
func TestTheHostIsOutside(t *testing.T) {
	w := newWorld(t)
	serve(t, w.host, "203.0.113.1:80")
	all := w.addEnvironment(t, "all", egress.Policy{All: true})
	if got, err := ask(t, all.front, "203.0.113.1", patience); got != all.link.Inside.Addr().String() || err != nil {
		t.Errorf("with all: got %q, %v", got, err)
	}
	one := w.addEnvironment(t, "one", egress.Policy{Prefixes: networktest.Prefixes("203.0.113.2/32")})
	for _, address := range []string{"203.0.113.1", one.link.Host.Addr().String()} {
		if got, err := ask(t, one.front, address, patience); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("with a rule for another: got %q, %v from %s", got, err, address)
		}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestForwardingIsOnAsLongAsItIsNeeded(t *testing.T) {
	w := newWorld(t)
	if f := w.forwarding(t); f != "0" {
		t.Fatalf("forwarding is %s to begin with", f)
	}
	first := w.addEnvironment(t, "first", egress.Policy{All: true})
	if len(first.link.Notices) != 1 || !strings.Contains(first.link.Notices[0], "ip_forward") {
		t.Errorf("got notices %q, want one about forwarding", first.link.Notices)
	}
	second := w.addEnvironment(t, "second", egress.Policy{All: true})
	if len(second.link.Notices) != 0 {
		t.Errorf("got notices %q, want none", second.link.Notices)
	}
	w.remove(t, "first")
	if got, err := ask(t, second.front, "203.0.113.2", patience); err != nil {
		t.Errorf("the second environment lost its way out with the first: %q, %v", got, err)
	}
	w.remove(t, "second")
	if f := w.forwarding(t); f != "0" {
		t.Errorf("forwarding is %s in the end", f)
	}
}

func TestForwardingThatWasOnStaysOn(t *testing.T) {
	w := newWorld(t)
	w.setSysctl(t, "ipv4/ip_forward", "1")
	e := w.addEnvironment(t, "only", egress.Policy{All: true})
	if len(e.link.Notices) != 0 {
		t.Errorf("got notices %q, want none", e.link.Notices)
	}
	w.remove(t, "only")
	if f := w.forwarding(t); f != "1" {
		t.Errorf("forwarding is %s in the end", f)
	}
}

func (w *world) forwarding(t *testing.T) (value string) {
	t.Helper()
	networktest.Within(t, w.host, func() error {
		content, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		value = strings.TrimSpace(string(content))
		return err
	})
	return value
}

func (w *world) setSysctl(t *testing.T, name, value string) {
	t.Helper()
	networktest.Within(t, w.host, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}
