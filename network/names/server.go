package names

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Port is DNS's own.
const Port = 53

const (
	// maxQuery is the longest query by UDP: a question and an OPT record have 300 bytes.
	maxQuery = 2048
	// How many questions are asked outside at a time; more get SERVFAIL.
	maxForwarded = 128
	// Connections of all clients, and of one address; and how long one may be silent (RFC 7766, section 6.2.3).
	maxConnections  = 256
	maxPerClient    = 16
	connectionIdle  = 10 * time.Second
	readErrorsPause = 20 * time.Millisecond
)

// Dialer connects to a resolver outside, from wherever the outside is reached.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Options are what a Server is made with. The zero value serves the environment's names and nothing else.
type Options struct {
	// Upstreams are the resolvers outside, asked in order until one answers. Instance.Upstreams go before.
	Upstreams []netip.AddrPort
	// Forward says whether a name (lower case, without the dot at its end) may be asked outside. Nil is never.
	Forward func(name string) bool
	// Dial connects to upstreams by udp and tcp; nil is net.Dialer's. A resolver on the host's loopback needs one from there:
	// network.Namespace's of a descriptor that was inherited.
	Dial Dialer
	// Learn, if there is one, is told what a name that was asked outside resolved to, before the asker is. If it fails the
	// asker gets SERVFAIL.
	Learn func(name string, addresses []Resolved) error
	// Logger may be nil.
	Logger *slog.Logger
	// Port in place of 53, for tests.
	Port uint16
}

// Resolved is one address that a resolver outside gave, and for how long it holds.
type Resolved struct {
	Address netip.Addr
	TTL     time.Duration
}

// Network is one network as the server sees it.
type Network struct {
	Name string
	// Gateways are the addresses to listen on, Subnets what belongs to the network.
	Gateways []netip.Addr
	Subnets  []netip.Prefix
	// Internal networks' clients get no names from outside.
	Internal bool
}

// Server answers questions. It is safe for several goroutines. Its sockets are made by AddNetwork, in the network namespace
// of the thread that calls it.
type Server struct {
	options Options
	log     *slog.Logger
	zone    *zone
	// ctx ends with Close; it bounds what is asked outside.
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	forwarded chan struct{} // a slot for each question that is asked outside

	mu          sync.Mutex
	closed      bool                         // guarded by mu
	sockets     []interface{ Close() error } // guarded by mu
	connections map[net.Conn]netip.Addr      // guarded by mu; by whom each is held
}

// NewServer makes a server that listens nowhere yet. The user closes it.
func NewServer(options Options) *Server {
	if options.Port == 0 {
		options.Port = Port
	}
	if options.Dial == nil {
		options.Dial = new(net.Dialer).DialContext
	}
	log := options.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	//nolint:gosec // cancel is called by Close
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		options: options, log: log, zone: newZone(), ctx: ctx, cancel: cancel,
		forwarded: make(chan struct{}, maxForwarded), connections: map[net.Conn]netip.Addr{},
	}
}

// AddNetwork listens on a network's gateways, which must be addresses of the calling thread's network namespace, and answers
// there until Close. If it fails it listens on none of them.
func (s *Server) AddNetwork(network Network) (err error) {
	var sockets []interface{ Close() error }
	defer func() {
		if err != nil {
			for _, socket := range sockets {
				err = errors.Join(err, socket.Close())
			}
		}
	}()
	var packets []*net.UDPConn
	var listeners []*net.TCPListener
	for _, gateway := range network.Gateways {
		at := netip.AddrPortFrom(gateway, s.options.Port)
		packet, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return fmt.Errorf("listen for names of network %q: %w", network.Name, err)
		}
		sockets, packets = append(sockets, packet), append(packets, packet)
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return fmt.Errorf("listen for names of network %q: %w", network.Name, err)
		}
		sockets, listeners = append(sockets, listener), append(listeners, listener)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("listen for names of network %q: %w", network.Name, net.ErrClosed)
	}
	s.sockets = append(s.sockets, sockets...)
	s.zone.addNetwork(network)
	for _, packet := range packets {
		s.running.Go(func() { s.servePackets(packet, network.Name) })
	}
	for _, listener := range listeners {
		s.running.Go(func() { s.serveConnections(listener, network.Name) })
	}
	return nil
}

// Set says what an instance is called and where it is, in place of what was said before. From then on it is found, and sees
// its networks' names.
func (s *Server) Set(name string, instance Instance) error {
	for _, a := range instance.Attachments {
		for _, n := range a.Names {
			if err := ValidateName(n); err != nil {
				return fmt.Errorf("instance %q: %w", name, err)
			}
		}
	}
	s.zone.set(name, instance)
	return nil
}

// Delete takes an instance's names out. One that is not there is no error.
func (s *Server) Delete(name string) { s.zone.remove(name) }

// Close stops listening, breaks off what is being answered, and waits for it. A second time does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	var errs []error
	for _, socket := range s.sockets {
		errs = append(errs, socket.Close())
	}
	s.sockets = nil
	for connection := range s.connections {
		connection.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return errors.Join(errs...)
}

// servePackets answers on a UDP socket until it is closed.
func (s *Server) servePackets(socket *net.UDPConn, network string) {
	buffer := make([]byte, maxQuery)
	for {
		n, client, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			if s.pause(err) {
				continue
			}
			return
		}
		q, reply := s.read(buffer[:n], source{address: client.Addr().Unmap(), network: network}, false)
		if q == nil {
			s.send(socket, client, reply)
			continue
		}
		select {
		case s.forwarded <- struct{}{}:
			// AddNetwork's goroutine is counted as long as this runs, so that the count cannot be zero here.
			s.running.Go(func() {
				defer func() { <-s.forwarded }()
				s.send(socket, client, s.forward(q))
			})
		default:
			s.send(socket, client, q.refuse(serverFailure))
		}
	}
}

// send replies by UDP; nil is no reply. A client that is gone does not matter.
func (s *Server) send(socket *net.UDPConn, client netip.AddrPort, reply []byte) {
	if reply == nil {
		return
	}
	if _, err := socket.WriteToUDPAddrPort(reply, client); err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("cannot answer for a name", "client", client, "error", err)
	}
}

// pause waits a moment after an error of a socket, so that one that stays does not keep a processor busy. It is false when
// the server is closed.
func (s *Server) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
		return false
	}
	s.log.Warn("cannot read from the name server's socket", "error", err)
	timer := time.NewTimer(readErrorsPause)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// ValidateName says whether an instance can be called by a name: labels of 1 to 63 bytes with dots between, 253 in all.
func ValidateName(name string) error {
	const maxName, maxLabel = 253, 63
	if len(name) > maxName {
		return fmt.Errorf("cannot use the name %q: it has %d characters; take at most %d", name, len(name), maxName)
	}
	label := 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if label == 0 || label > maxLabel {
				return fmt.Errorf("cannot use the name %q: a part of it has %d characters; take 1 to %d", name, label, maxLabel)
			}
			label = 0
			continue
		}
		if name[i] <= ' ' || name[i] >= 0x7f {
			return fmt.Errorf("cannot use the name %q: it has the character %s; take letters, digits, '-' and '_'",
				name, strconv.QuoteRune(rune(name[i])))
		}
		label++
	}
	return nil
}
