package supervisor

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/network/names"
)

// hostResolvConf is the host's: the supervisor sees the host's files.
const hostResolvConf = "/etc/resolv.conf"

// openEgress makes the environment's half of its way out, before there is a service,
// and returns how names are answered. Without egress nothing is asked outside.
func (w *wiring) openEgress(undo *cleanup.Stack) (names.Options, error) {
	options := names.Options{Logger: w.env.log}
	h := w.env.handover
	if h.Egress == nil {
		return options, nil
	}
	policy := policyOf(h.Plan.Egress)
	var networks []egress.Network
	for _, n := range h.Plan.Networks {
		networks = append(networks, egress.Network{Bridge: n.Bridge, Internal: n.Internal})
	}
	rules, err := egress.Open(*h.Egress, policy, networks)
	if err != nil {
		return options, err
	}
	undo.Push(rules.Close)
	for _, notice := range h.Egress.Notices {
		w.env.log.Warn("egress", "notice", notice)
	}
	// The host's resolvers are asked from where the host itself asks them, which may be
	// its loopback.
	host, err := network.OpenNamespace(os.NewFile(uintptr(h.Descriptors.HostNetwork), "network namespace of the host"))
	if err != nil {
		return options, fmt.Errorf("take over the host's network namespace: %w", err)
	}
	undo.Push(host.Close)
	content, err := os.ReadFile(hostResolvConf)
	if err != nil {
		w.env.log.Warn("names outside are not resolved", "error", err)
	}
	options.Upstreams, options.Dial = names.ParseResolvConf(content), host.DialContext
	options.Forward, options.Learn = policy.AllowsName, rules.Learn
	return options, nil
}

func policyOf(e plan.Egress) egress.Policy {
	policy := egress.Policy{All: e.All}
	for _, rule := range e.Rules {
		if rule.Name != "" {
			policy.Names = append(policy.Names, rule.Name)
		} else {
			policy.Prefixes = append(policy.Prefixes, rule.Prefix)
		}
	}
	return policy
}

// routers are the gateways by which services of a network get out: none without
// egress, so that a connection to elsewhere fails at once.
func (w *wiring) routers(n *plan.Network) (routers []netip.Addr) {
	link := w.env.handover.Egress
	if link == nil {
		return nil
	}
	for _, gateway := range n.Gateways {
		if gateway.Is4() && link.Inside.IsValid() || gateway.Is6() && link.Inside6.IsValid() {
			routers = append(routers, gateway)
		}
	}
	return routers
}
