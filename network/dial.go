package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// DialContext connects from inside the namespace, as if a program there did: also to its 127.0.0.1. network is one of
// tcp, udp and their forms with 4 and 6. address is an IP address with a port; "localhost" is 127.0.0.1, and ::1 where
// nothing answers there. Other names are not looked up. Errors are those of net.Dialer.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %q: %w; give an address and a port", address, err)
	}
	if host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, fmt.Errorf("cannot connect to %q: %w; give an IP address or localhost", address, err)
		}
		return n.dial(ctx, network, address)
	}
	connection, err := n.dial(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err == nil || ctx.Err() != nil {
		return connection, err
	}
	if connection, err6 := n.dial(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
		return connection, nil
	}
	return nil, err
}

// dial makes the socket inside and connects it from outside: a socket belongs to the namespace that it was made in, and the
// thread need not stay for as long as the connection takes.
func (n *Namespace) dial(ctx context.Context, network, address string) (connection net.Conn, err error) {
	err = n.run(func(leave func() error) error {
		dialer := net.Dialer{Control: func(string, string, syscall.RawConn) error { return leave() }}
		connection, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return connection, err
}
