// Package egress lets an environment's services reach what is outside, as far as a policy goes.
//
// It has two halves. On the host, as root, Setup makes one pair of interfaces into the environment's network namespace, with
// addresses that nothing on the host is routed to, and one nftables table that hides the environment behind the host's own
// address; both are named after the environment alone, so that Remove takes them away knowing nothing but its key. Inside, in
// the environment's namespace, Open gives the pair's other end its address and makes the rules that say which service may
// send where. What the policy says is decided inside, before anything reaches the host.
//
// It refuses what is not forwarded by a rule: what comes from outside and was not asked for, and what goes from one network of
// the environment to another, is dropped; what the policy does not let out is rejected, so that a program fails at once
// rather than after minutes. An environment without egress has none of this, and the host's network nothing of it.
//
// It changes the host in one more way only where it has to: forwarding of IPv4 is switched on if it is off, for as long as an
// environment needs it. IPv6 goes out only where the host forwards it already: switching it on would make the host forget the
// routes that it learned from router advertisements.
//
// How names are let out: package names asks outside for names that Policy.AllowsName, and tells Rules.Learn the addresses
// before the service gets them.
package egress
