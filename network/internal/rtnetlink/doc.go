// Package rtnetlink is a netlink socket that sends several requests in one system call.
//
// It owns the socket, the sequence numbers and the reading of answers, with the kernel's own explanation of an error
// (extended acknowledgement). Messages themselves are built with github.com/vishvananda/netlink/nl, whose socket costs a
// round trip for each request and looks up by name what the caller already knows.
//
// It refuses to know what a link or an address is, and opens its socket in the network namespace of the calling thread: in
// which one, and on which thread, is package network's business.
//
// Sources: netlink(7), rtnetlink(7), the kernel's Documentation/userspace-api/netlink/intro.rst.
package rtnetlink
