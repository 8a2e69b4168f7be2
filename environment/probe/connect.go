package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// A connection on one machine is made in the system call, but for a listener
// whose queue is full: there the kernel tries again after a second, and we do
// at once. The patience grows for hosts that are farther.
const (
	firstConnect   = 20 * time.Millisecond
	longestConnect = time.Second
)

// An answer gets a second at first, since a service may have begun to listen
// before it could answer, and ten in the end.
const (
	firstAnswer   = time.Second
	longestAnswer = 10 * time.Second
)

// connector connects to where a probe says.
type connector struct {
	target    Target
	addresses []string // tried in order
	dial      DialFunc
	// port is asked for a listener before a connection is tried; 0 where the
	// namespace is another's.
	port uint16

	connect, answer time.Duration // patience of the next try
}

func newConnector(target Target, p plan.Probe) *connector {
	c := &connector{target: target, port: p.Port, connect: firstConnect, answer: firstAnswer}
	port := strconv.Itoa(int(p.Port))
	address, err := netip.ParseAddr(p.Host)
	switch {
	case p.Host == "" && target.Address.IsValid():
		c.addresses, c.dial = []string{net.JoinHostPort(target.Address.String(), port)}, target.Dial
	case p.Host == "" || p.Host == "localhost":
		c.addresses, c.dial = []string{"127.0.0.1:" + port, "[::1]:" + port}, target.DialInside
	case err == nil && address.IsLoopback():
		c.addresses, c.dial = []string{net.JoinHostPort(p.Host, port)}, target.DialInside
	default:
		c.addresses, c.dial, c.port = []string{net.JoinHostPort(p.Host, port)}, target.Dial, 0
	}
	return c
}

// wait connects until ask is content with a connection, which is then closed.
// ask returns what it saw in place of what it wants, or nothing.
func (c *connector) wait(ctx context.Context, seen *sighting, ask func(net.Conn) string) bool {
	return poll(ctx, seen, func(ctx context.Context) string {
		conn, saw := c.open(ctx)
		if conn == nil {
			return saw
		}
		defer conn.Close()
		return c.converse(ctx, conn, ask)
	})
}

// waitKept does the same with one connection for all questions.
func (c *connector) waitKept(ctx context.Context, seen *sighting, client *healthClient) bool {
	return poll(ctx, seen, func(ctx context.Context) string {
		if client.conn == nil {
			conn, saw := c.open(ctx)
			if conn == nil {
				return saw
			}
			client.begin(conn)
		}
		return c.converse(ctx, client.conn, client.ask)
	})
}

// open connects, or says what it met.
func (c *connector) open(ctx context.Context) (net.Conn, string) {
	if c.port != 0 && c.target.Listening != nil {
		// The kernel's answer costs a fifth of a refused connection. Without one, the connection tells.
		if open, err := c.target.Listening(c.port); err == nil && !open {
			return nil, "connection refused at " + c.addresses[0]
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.connect)
	defer cancel()
	var saw string
	for _, address := range c.addresses {
		conn, err := c.dial(ctx, "tcp", address)
		if err == nil {
			return conn, ""
		}
		if saw == "" {
			saw = refusal(err, address)
		}
	}
	if ctx.Err() != nil {
		c.connect = min(2*c.connect, longestConnect)
	}
	return nil, saw
}

// converse gives ask its time.
func (c *connector) converse(ctx context.Context, conn net.Conn, ask func(net.Conn) string) string {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	began := time.Now()
	if err := conn.SetDeadline(began.Add(c.answer)); err != nil {
		return err.Error()
	}
	if ctx.Err() != nil {
		return "the wait has ended"
	}
	saw := ask(conn)
	if saw != "" && time.Since(began) >= c.answer {
		c.answer = min(2*c.answer, longestAnswer)
	}
	return saw
}

// greet is content with any connection.
func greet(net.Conn) string { return "" }

// refusal says why a connection was not made. The text is the same each time
// that the reason is: net.OpError's own has the port that this end happened to have.
func refusal(err error, address string) string {
	var number syscall.Errno
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused at " + address
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer to a connection from " + address
	case errors.As(err, &number):
		return fmt.Sprintf("no connection to %s: %v", address, number)
	default:
		return fmt.Sprintf("no connection to %s: %v", address, err)
	}
}

// silence says what it means that reading an answer from a connection failed.
func silence(err error, whose string) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer from " + whose
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset by " + whose
	default:
		return fmt.Sprintf("no answer from %s: %v", whose, err)
	}
}
