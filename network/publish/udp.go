package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDatagram = 65535
	// maxSessions of one port: with more clients than these, the one that has been silent longest makes room.
	maxSessions = 1024
	// sessionIdle is docker's own.
	sessionIdle = 90 * time.Second
)

// UDP forwards datagrams. Each client, an address and port, has a session: a socket inside, to which the service replies. Its
// Counts can be read by any goroutine, while Serve runs and after.
type UDP struct {
	socket   *net.UDPConn
	dial     Dialer
	idle     time.Duration
	limit    int
	log      *slog.Logger
	counters counters

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session // guarded by mu

	replying sync.Mutex
	// reply is one datagram on its way out, guarded by replying: a thousand sessions that wait need no 64 KiB each.
	reply []byte
}

// session is one client. It ends when neither side has sent for a while, when it makes room for another, and with Serve.
type session struct {
	service net.Conn
	raw     syscall.RawConn
	// to is the local address that the client sent to, as ancillary data for the replies: from another one it would not
	// take them.
	to []byte
	// last is when something was forwarded, since the forwarder began. It is guarded by UDP.mu.
	last time.Duration
}

// UDPOptions are bounds; 0 takes the default.
type UDPOptions struct {
	// Idle is how long a session lives without a datagram, 90 s by default; MaxSessions how many there are, 1024 by default.
	Idle        time.Duration
	MaxSessions int
	// Logger may be nil.
	Logger *slog.Logger
}

// NewUDP prepares to forward what a socket receives. The forwarder owns the socket from then on.
func NewUDP(socket *net.UDPConn, dial Dialer, options UDPOptions) *UDP {
	if options.Idle == 0 {
		options.Idle = sessionIdle
	}
	if options.MaxSessions == 0 {
		options.MaxSessions = maxSessions
	}
	return &UDP{
		socket: socket, dial: dial, idle: options.Idle, limit: options.MaxSessions, log: orDiscard(options.Logger),
		sessions: map[netip.AddrPort]*session{}, reply: make([]byte, maxDatagram),
	}
}

// Counts says what has been forwarded so far.
func (f *UDP) Counts() Counts { return f.counters.read() }

// Close gives the socket up where Serve is never called.
func (f *UDP) Close() error { return f.socket.Close() }

// Serve forwards until ctx ends; it then closes the socket and the sessions, waits for them and returns nil. An error is of
// the socket, and ends it just so.
func (f *UDP) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer f.closeSessions()
	defer closeWith(ctx, f.socket)()
	defer cancel()
	if err := f.askForLocalAddress(); err != nil {
		return err
	}
	began := time.Now()
	buffer, ancillary := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n, oobn, _, client, err := f.socket.ReadMsgUDPAddrPort(buffer, ancillary)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			f.log.Warn("cannot receive a datagram", "address", f.socket.LocalAddr(), "error", err)
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		}
		s := f.session(client, time.Since(began))
		if s == nil {
			if s = f.open(ctx, client, replyFrom(ancillary[:oobn]), time.Since(began)); s == nil {
				f.counters.dropped.Add(1)
				continue
			}
			sessions.Go(func() { f.serveReplies(s, client, began) })
		}
		// A service that is not there refuses by ICMP, which the next write tells: the datagram is lost, as it would be
		// without us. It may be there for the next one.
		if _, err := s.service.Write(buffer[:n]); err != nil {
			f.counters.dropped.Add(1)
			continue
		}
		f.counters.in.Add(uint64(n))
	}
}

// session gives a client's session, which then lives for as long as an idle one does; nil if there is none.
func (f *UDP) session(client netip.AddrPort, now time.Duration) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[client]
	if s != nil {
		s.last = now
	}
	return s
}

// open makes a session, nil if the service cannot be reached at all. With too many, the most silent one ends.
func (f *UDP) open(ctx context.Context, client netip.AddrPort, to []byte, now time.Duration) *session {
	service, raw, err := f.connect(ctx)
	if err != nil {
		f.counters.refused.Add(1)
		f.log.Debug("cannot reach the service", "address", f.socket.LocalAddr(), "client", client, "error", err)
		return nil
	}
	s := &session{service: service, raw: raw, to: to, last: now}
	f.counters.accepted.Add(1)
	f.counters.active.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sessions) >= f.limit {
		var oldest netip.AddrPort
		for c, other := range f.sessions {
			if o := f.sessions[oldest]; o == nil || other.last < o.last {
				oldest = c
			}
		}
		f.sessions[oldest].service.Close()
		delete(f.sessions, oldest)
	}
	f.sessions[client] = s
	return s
}

// connect dials the service and gives its socket in both forms.
func (f *UDP) connect(ctx context.Context) (net.Conn, syscall.RawConn, error) {
	service, err := f.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	socket, ok := service.(*net.UDPConn)
	if !ok {
		service.Close()
		return nil, nil, fmt.Errorf("the dialer of a UDP port connects by %s", service.RemoteAddr().Network())
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		service.Close()
		return nil, nil, err
	}
	return service, raw, nil
}

// serveReplies sends the service's datagrams to the client until the session ends, and ends it when it has been idle.
func (f *UDP) serveReplies(s *session, client netip.AddrPort, began time.Time) {
	defer f.counters.active.Add(-1)
	defer f.forget(s, client)
	for {
		left := f.left(s, client, time.Since(began))
		if left <= 0 || s.service.SetReadDeadline(time.Now().Add(left)) != nil {
			return
		}
		received, err := f.passReply(s, client)
		var timeout net.Error
		switch {
		case received:
			f.session(client, time.Since(began))
			if errors.Is(err, net.ErrClosed) {
				return
			}
		case errors.Is(err, unix.ECONNREFUSED):
			f.counters.refused.Add(1)
		case errors.As(err, &timeout) && timeout.Timeout():
			// The client may have sent meanwhile.
		case err != nil:
			return
		}
	}
}

// passReply waits for one datagram of the service, until the socket's deadline, and sends it to the client. received says
// that there was one; the error is then that of sending.
func (f *UDP) passReply(s *session, client netip.AddrPort) (received bool, err error) {
	waiting := s.raw.Read(func(fd uintptr) bool {
		f.replying.Lock()
		defer f.replying.Unlock()
		var n int
		for {
			if n, err = unix.Read(int(fd), f.reply); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		if err != nil {
			return true
		}
		received = true
		if _, _, err = f.socket.WriteMsgUDPAddrPort(f.reply[:n], s.to, client); err != nil {
			f.counters.dropped.Add(1)
			return true
		}
		f.counters.out.Add(uint64(n))
		return true
	})
	if waiting != nil {
		return false, waiting
	}
	return received, err
}

// left says how long a session still has without a datagram. One that has nothing left is not found any more: a datagram that
// comes now opens another.
func (f *UDP) left(s *session, client netip.AddrPort, now time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := s.last + f.idle - now
	if left <= 0 && f.sessions[client] == s {
		delete(f.sessions, client)
	}
	return left
}

// forget ends a session, unless it made room already.
func (f *UDP) forget(s *session, client netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.service.Close()
	if f.sessions[client] == s {
		delete(f.sessions, client)
	}
}

func (f *UDP) closeSessions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for client, s := range f.sessions {
		s.service.Close()
		delete(f.sessions, client)
	}
}
