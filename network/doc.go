// Package network makes the private network of an environment: bridges, a namespace for each service, and the pair of
// interfaces between the two.
//
// It owns the network namespaces of services, which it holds by descriptor and never binds to a file, so that the kernel
// removes them with their last user; the interfaces and addresses in them; which sockets listen there (sock_diag(7)); and
// connections that begin inside one. Everything is made in the network namespace of the calling process, which has to be the
// environment's own: nothing here is visible on the host, and with the process that owns it the kernel takes it all away.
//
// It refuses to choose: names, addresses and gateways come from the caller, are checked and used as they are. It knows
// nothing of services, of compose files or of containers. It never leaves a thread in another namespace, and never waits
// for a child.
//
// Below it, each by itself: names answers DNS, publish forwards ports of the host, egress lets traffic out and says which.
// Interfaces are made by netlink messages of our own (network/internal/rtnetlink): a bridge is one system call and its
// answer, a service's interface with addresses and routes two. A library's call for each property, with a look-up by name
// before each, took five times as many.
package network
