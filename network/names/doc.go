// Package names answers DNS for an environment: its services by their names, on each of its networks.
//
// It owns the server, which listens on each network's gateway by UDP and TCP; what each instance is called on which network;
// and the rule of who sees what: an instance sees the names of the networks that it is attached to, known by the address
// that it asks from. Names that are not the environment's are asked outside only where the caller's policy says so, and the
// policy learns the addresses before the asker does.
//
// It refuses recursion (the host's resolvers do that), zone transfers, updates, and caching: what it knows itself changes with
// each start of an instance, and what others know they cache. It never asks outside for a name of one label, nor for an
// address of the environment's own subnets, and so answers at once, and lets nothing out, where a program tries names.
//
// What resolvers rely on: a name that exists has NOERROR and no answer where it has no address of a family (musl asks for A
// and AAAA at once and believes the first NXDOMAIN); case does not matter, and the question comes back as it was asked (0x20);
// a reply is as long as the asker can take (RFC 6891), else it is cut with the TC bit and whatever fits, since musl before
// 1.2.4 never asks again by TCP.
//
// Messages are read and written by golang.org/x/net/dns/dnsmessage: it costs a start of sandboxrun nothing, where a DNS
// framework costs 0.25 ms of package initialisation for its TLS. The tests ask with miekg/dns.
//
// Sources: RFC 1035, RFC 2308, RFC 4343, RFC 6891, RFC 7766.
package names
