package egress_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestManyAtOnceHaveAddressesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	const count = 12
	var links [count]egress.Link
	var errs [count]error
	var setups sync.WaitGroup
	for i := range count {
		namespace := networktest.NewNamespace(t)
		setups.Go(func() {
			errs[i] = networktest.Inside(w.host, func() (err error) {
				file, err := os.Open(namespace.Path())
				if err != nil {
					return err
				}
				defer file.Close()
				links[i], err = egress.Setup(fmt.Sprint("environment ", i), file)
				return err
			})
		})
	}
	setups.Wait()
	for i, link := range links {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		for j := range i {
			if link.Host.Overlaps(links[j].Host) || link.Interface == links[j].Interface || link.Table == links[j].Table {
				t.Errorf("%+v and %+v meet", link, links[j])
			}
		}
	}
	var removes sync.WaitGroup
	for i := range count {
		removes.Go(func() {
			errs[i] = networktest.Inside(w.host, func() error { return egress.Remove(fmt.Sprint("environment ", i)) })
		})
	}
	removes.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if f := w.forwarding(t); f != "0" {
		t.Errorf("forwarding is %s in the end", f)
	}
}

func TestAddressesThatTheHostKnowsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	first := w.addEnvironment(t, "the key", egress.Policy{All: true}).link
	w.remove(t, "the key")
	// The same key takes the same addresses, unless there is a route to them meanwhile.
	networktest.AddBridge(t, w.stack, "taken", first.Host.Addr().Prev().Prev().Prev().String()+"/24")
	second := w.addEnvironment(t, "the key", egress.Policy{All: true}).link
	if taken, _ := first.Host.Addr().Prefix(24); taken.Overlaps(second.Host) {
		t.Errorf("%s is in %s, to which the host has a route", second.Host, taken)
	}
	if second.Interface != first.Interface || second.Table != first.Table {
		t.Errorf("names changed: %+v, then %+v", first, second)
	}
}

func TestSetupReplacesWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	w.addEnvironment(t, "one key", egress.Policy{All: true})
	e := w.addEnvironment(t, "one key", egress.Policy{All: true})
	if got, err := ask(t, e.front, "203.0.113.2", patience); err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRemoveNeedsNothingToBeThere(t *testing.T) {
	w := newWorld(t)
	w.remove(t, "never set up")
	namespace, err := network.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	networktest.Within(t, w.host, func() error {
		file, err := os.Open(namespace.Path())
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = egress.Setup("vanished", file)
		return err
	})
	// The kernel takes the pair with the namespace; the table stays.
	if err := namespace.Close(); err != nil {
		t.Fatal(err)
	}
	w.remove(t, "vanished")
	w.remove(t, "vanished")
}

func TestAFirewallThatDropsByDefaultIsPassed(t *testing.T) {
	for _, chain := range []string{"FORWARD", "DOCKER-USER"} {
		t.Run(chain, func(t *testing.T) {
			w := newWorld(t)
			networktest.Within(t, w.host, func() error { return addDocker(chain == "DOCKER-USER") })
			e := w.addEnvironment(t, "x", egress.Policy{All: true})
			if got, err := ask(t, e.front, "203.0.113.2", patience); err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if rules := w.rules(t, chain); len(rules) != 2+1 {
				t.Errorf("chain %s has %d rules, want our two before its own", chain, len(rules))
			}
			w.remove(t, "x")
			if rules := w.rules(t, chain); len(rules) != 1 {
				t.Errorf("chain %s has %d rules in the end, want its own", chain, len(rules))
			}
		})
	}
}

// addDocker makes the chains that docker makes by iptables, each with a rule of its own.
func addDocker(user bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	drop := nftables.ChainPolicyDrop
	forward := c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	first := []expr.Any{&expr.Counter{}}
	if user {
		own := c.AddChain(&nftables.Chain{Name: "DOCKER-USER", Table: table})
		c.AddRule(&nftables.Rule{Table: table, Chain: own, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}})
		first = []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "DOCKER-USER"}}
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: first})
	return c.Flush()
}

func (w *world) rules(t *testing.T, chain string) (rules []*nftables.Rule) {
	t.Helper()
	networktest.Within(t, w.host, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"}
		rules, err = c.GetRules(table, &nftables.Chain{Name: chain, Table: table})
		return err
	})
	return rules
}

func TestAnotherFirewallIsTold(t *testing.T) {
	w := newWorld(t)
	w.setSysctl(t, "ipv4/ip_forward", "1")
	networktest.Within(t, w.host, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		drop := nftables.ChainPolicyDrop
		c.AddChain(&nftables.Chain{
			Name: "passing", Table: c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "wall"}),
			Type: nftables.ChainTypeFilter, Policy: &drop, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		return c.Flush()
	})
	notices := w.addEnvironment(t, "x", egress.Policy{All: true}).link.Notices
	if len(notices) != 1 || !strings.Contains(notices[0], "chain passing of nftables table wall") {
		t.Errorf("got notices %q", notices)
	}
}

func TestIPv6GoesOutWhereTheHostForwardsIt(t *testing.T) {
	w := newWorld(t)
	if link := w.addEnvironment(t, "without", egress.Policy{All: true}).link; link.Inside6.IsValid() {
		t.Errorf("got %+v, want no IPv6 where the host does not forward it", link)
	}
	w.setSysctl(t, "ipv6/conf/all/forwarding", "1")
	// The host's own way out by IPv6 is outside.
	networktest.Within(t, w.host, func() error { return addDefaultRoute(netip.MustParseAddr("2001:db8::2")) })
	e := w.addEnvironment(t, "with", egress.Policy{Prefixes: networktest.Prefixes("2001:db8::/32", "203.0.113.2/32")})
	if !e.link.Inside6.IsValid() {
		t.Fatalf("got %+v, want IPv6", e.link)
	}
	for address, want := range map[string]string{"2001:db8::2": "2001:db8::1", "203.0.113.2": "203.0.113.1"} {
		if got, err := ask(t, e.front, address, patience); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestSetupThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t)
	notNamespace, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer notNamespace.Close()
	err = networktest.Inside(w.host, func() error {
		_, err := egress.Setup("broken", notNamespace)
		return err
	})
	if err == nil {
		t.Fatal("set up in something that is no namespace")
	}
	networktest.Within(t, w.host, func() error {
		remains, err := egress.Remains("broken")
		if len(remains) > 0 {
			t.Errorf("%v remain", remains)
		}
		return err
	})
	if f := w.forwarding(t); f != "0" {
		t.Errorf("forwarding is %s in the end", f)
	}
}

func TestNamesOnTheHostAreOfTheKeyAlone(t *testing.T) {
	names := []string{egress.InterfaceName("/run/a"), egress.InterfaceName("/run/b"), egress.InterfaceName("/run/a")}
	if names[0] != names[2] || names[0] == names[1] {
		t.Errorf("got %q", names)
	}
	for _, n := range names {
		if err := network.ValidateName(n); err != nil || !strings.HasPrefix(n, "sbx-") {
			t.Errorf("%q: %v", n, err)
		}
	}
	if !slices.Contains([]string{egress.TableName("/run/a")}, "sandboxrun-"+strings.TrimPrefix(names[0], "sbx-")) {
		t.Errorf("table %q is not named as interface %q", egress.TableName("/run/a"), names[0])
	}
}
