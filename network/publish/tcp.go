package publish

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections that one port forwards at a time; more wait in the socket's backlog. Each has two descriptors, of which
	// a process has 1024 where nobody raised the limit.
	maxConnections = 4096
	// acceptPause after an error that can pass, such as EMFILE.
	acceptPause = 20 * time.Millisecond
	// dialTimeout inside an environment, where an answer takes microseconds, unless the service's backlog is full.
	dialTimeout = 10 * time.Second
)

// Dialer connects to the service.
type Dialer func(ctx context.Context) (net.Conn, error)

// Counts are what a port has forwarded. All but Active only grow.
type Counts struct {
	// Accepted connections (TCP) or sessions (UDP), and those that live.
	Accepted uint64
	Active   int64
	// Refused are those that the service did not take.
	Refused uint64
	// BytesIn went to the service, BytesOut came from it. A connection's are counted when its direction ends.
	BytesIn, BytesOut uint64
	// Dropped datagrams found no session free, or could not be sent on.
	Dropped uint64
}

// counters are Counts that several goroutines write.
type counters struct {
	accepted, refused, in, out, dropped atomic.Uint64
	active                              atomic.Int64
}

func (c *counters) read() Counts {
	return Counts{
		Accepted: c.accepted.Load(), Active: c.active.Load(), Refused: c.refused.Load(),
		BytesIn: c.in.Load(), BytesOut: c.out.Load(), Dropped: c.dropped.Load(),
	}
}

// TCP forwards connections. Its Counts can be read by any goroutine, while Serve runs and after.
type TCP struct {
	listener *net.TCPListener
	dial     Dialer
	log      *slog.Logger
	counters counters
}

// NewTCP prepares to forward what a socket accepts. The forwarder owns the socket from then on. log may be nil.
func NewTCP(listener *net.TCPListener, dial Dialer, log *slog.Logger) *TCP {
	return &TCP{listener: listener, dial: dial, log: orDiscard(log)}
}

// Counts says what has been forwarded so far.
func (f *TCP) Counts() Counts { return f.counters.read() }

// Close gives the socket up where Serve is never called.
func (f *TCP) Close() error { return f.listener.Close() }

// Serve forwards until ctx ends; it then closes the socket, resets what is still forwarded, waits for it and returns nil.
// An error is of the socket, and ends it just so.
func (f *TCP) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var connections sync.WaitGroup
	defer connections.Wait()
	defer closeWith(ctx, f.listener)()
	defer cancel()
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		client, err := f.listener.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				reset(client)
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			<-slots
			f.log.Warn("cannot accept a connection", "address", f.listener.Addr(), "error", err)
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		}
		f.counters.accepted.Add(1)
		f.counters.active.Add(1)
		connections.Go(func() {
			defer func() {
				f.counters.active.Add(-1)
				<-slots
			}()
			f.forward(ctx, client)
		})
	}
}

// forward connects to the service and copies both ways until both ends have ended.
func (f *TCP) forward(ctx context.Context, client *net.TCPConn) {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	connection, err := f.dial(dialing)
	cancel()
	if err != nil {
		f.counters.refused.Add(1)
		f.log.Debug("service does not take a connection", "address", f.listener.Addr(), "client", client.RemoteAddr(), "error", err)
		reset(client)
		return
	}
	service, ok := connection.(*net.TCPConn)
	if !ok {
		f.log.Warn("the dialer of a TCP port connects by another protocol", "network", connection.RemoteAddr().Network())
		connection.Close()
		reset(client)
		return
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		reset(client)
		reset(service)
	})
	defer func() {
		if !stop() {
			<-ended
		}
	}()
	var out sync.WaitGroup
	out.Go(func() { f.counters.out.Add(copyHalf(client, service)) })
	f.counters.in.Add(copyHalf(service, client))
	out.Wait()
	client.Close()
	service.Close()
}

// copyHalf copies until from has no more, and says so to the other end; after an error, such as a reset, both ends get one.
func copyHalf(to, from *net.TCPConn) uint64 {
	n, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		reset(from)
		reset(to)
	}
	return uint64(n)
}

// reset closes a connection so that its other end sees that it was not finished.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // it is closed already, then
	c.Close()
}

// closeWith closes something when ctx ends. It returns a function that waits for that.
func closeWith(ctx context.Context, c io.Closer) func() {
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		c.Close()
	})
	return func() { <-closed }
}

// pause waits; false is the end of ctx.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
