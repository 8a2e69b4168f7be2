package egress_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestPoliciesThatAreWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy egress.Policy
		want   string
	}{
		{"nothing", egress.Policy{}, ""},
		{"all", egress.Policy{All: true}, ""},
		{"rules", egress.Policy{Prefixes: networktest.Prefixes("10.0.0.0/8", "::/0"), Names: []string{"example.com", "*.example.com"}}, ""},
		{"all and rules", egress.Policy{All: true, Names: []string{"example.com"}}, "give one or the other"},
		{"no prefix", egress.Policy{Prefixes: []netip.Prefix{{}}}, "write 192.0.2.0/24"},
		{"bits beyond", egress.Policy{Prefixes: networktest.Prefixes("10.0.0.1/8")}, "write 10.0.0.0/8, or 10.0.0.1/32"},
		{"mapped", egress.Policy{Prefixes: networktest.Prefixes("::ffff:10.0.0.0/104")}, "write it as IPv4"},
		{"no name", egress.Policy{Names: []string{"https://example.com/"}}, "is no DNS name"},
		{"empty name", egress.Policy{Names: []string{""}}, "is no DNS name"},
		{"two stars", egress.Policy{Names: []string{"*.*.example.com"}}, "is no DNS name"},
		{"a star within", egress.Policy{Names: []string{"a.*.com"}}, "is no DNS name"},
		{"one label", egress.Policy{Names: []string{"localhost"}}, "write it in full"},
		{"all of com", egress.Policy{Names: []string{"*.com"}}, "write it in full"},
	} {
		err := tt.policy.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestAllowsName(t *testing.T) {
	p := egress.Policy{Names: []string{"Example.com.", "*.cdn.example.com"}}
	for name, want := range map[string]bool{
		"example.com": true, "EXAMPLE.com.": true, "www.example.com": false, "cdn.example.com": false,
		"a.cdn.example.com": true, "b.A.CDN.example.com": true, "evilcdn.example.com": false, ".cdn.example.com": false, "": false,
	} {
		if got := p.AllowsName(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
	if !(egress.Policy{All: true}).AllowsName("anything.at.all") || (egress.Policy{Prefixes: networktest.Prefixes("::/0")}).AllowsName("a.b") {
		t.Error("all allows each name, prefixes none")
	}
	if !(egress.Policy{}).None() || p.None() || (egress.Policy{All: true}).None() {
		t.Error("None is not of the zero value alone")
	}
}
