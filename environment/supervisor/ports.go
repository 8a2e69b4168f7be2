package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/network/publish"
)

// errNotUp is why a published port refuses: there is nobody to connect to.
var errNotUp = errors.New("the service does not run")

// publishPorts forwards published ports from now to the end, also while their
// services do not run: a client is refused then, as it would be by a port that
// nobody listens on.
func (s *supervisor) publishPorts(undo *cleanup.Stack) error {
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	undo.Push(func() error {
		cancel()
		serving.Wait()
		return nil
	})
	for _, p := range s.handover.Ports {
		forwarder, err := s.forwarder(p)
		if err != nil {
			return fmt.Errorf("publish port %d of service %s: %w", p.Target, p.Service, err)
		}
		serving.Go(func() {
			if err := forwarder.Serve(ctx); err != nil {
				s.log.Warn("a port is not published any more", "service", p.Service, "port", p.HostPort, "error", err)
			}
		})
	}
	return nil
}

// forwarder takes over a port's socket.
func (s *supervisor) forwarder(p environment.OpenPort) (interface{ Serve(context.Context) error }, error) {
	file := os.NewFile(uintptr(p.Descriptor), "published port")
	defer file.Close() // what is made of it has a duplicate
	dial := func(ctx context.Context) (net.Conn, error) { return s.dialService(ctx, p) }
	if p.Protocol == "udp" {
		conn, err := net.FilePacketConn(file)
		if err != nil {
			return nil, err
		}
		socket, ok := conn.(*net.UDPConn)
		if !ok {
			return nil, errors.Join(errors.New("its socket is none of udp"), conn.Close())
		}
		return publish.NewUDP(socket, dial, publish.UDPOptions{Logger: s.log}), nil
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	socket, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.New("its socket is none of tcp"), listener.Close())
	}
	return publish.NewTCP(socket, dial, s.log), nil
}

// dialService connects to the first instance of a port's service, by its address,
// or inside its namespace if it has none.
func (s *supervisor) dialService(ctx context.Context, p environment.OpenPort) (net.Conn, error) {
	var e *endpoint
	s.look(func() {
		if instances := s.services[p.Service]; len(instances) > 0 && instances[0].running != nil {
			e = instances[0].endpoint
		}
	})
	if e == nil {
		return nil, &net.OpError{Op: "dial", Net: p.Protocol, Err: errors.Join(errNotUp, unix.ECONNREFUSED)}
	}
	if !e.address.IsValid() {
		return e.namespace.DialContext(ctx, p.Protocol, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Target).String())
	}
	return (&net.Dialer{}).DialContext(ctx, p.Protocol, netip.AddrPortFrom(e.address, p.Target).String())
}
