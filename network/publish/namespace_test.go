package publish_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/network/networktest"
	"github.com/sandboxrun/sandboxrun/network/publish"
)

// TestBothEndsAreWhereTheyWereMade forwards from the host's loopback to a loopback in a namespace.
func TestBothEndsAreWhereTheyWereMade(t *testing.T) {
	inside := networktest.NewNamespace(t)
	dialer := func(network, address string) publish.Dialer {
		return func(ctx context.Context) (net.Conn, error) { return inside.DialContext(ctx, network, address) }
	}
	// Nobody listens inside on the port that is open outside: what answers there answers by the forwarder.
	listener, socket := listen(t), listenUDP(t, "127.0.0.1:0")
	tcp := publish.NewTCP(listener, dialer("tcp", listener.Addr().String()), nil)
	serve(t, tcp)
	if err := converse(listener.Addr()); err == nil || tcp.Counts().Refused != 1 {
		t.Errorf("got %v, %+v; want a refusal from inside", err, tcp.Counts())
	}
	udp := publish.NewUDP(socket, dialer("udp", socket.LocalAddr().String()), publish.UDPOptions{})
	serve(t, udp)
	c := client(t, socket.LocalAddr().String())
	for udp.Counts().Refused == 0 && udp.Counts().Dropped == 0 && t.Context().Err() == nil {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyConnectionsAtOnce holds that each client gets its own bytes.
func TestManyConnectionsAtOnce(t *testing.T) {
	listener := listen(t)
	f := publish.NewTCP(listener, echoAll(t), nil)
	serve(t, f)
	const clients = 100
	results := make(chan string, clients)
	for i := range clients {
		go func() {
			text := strings.Repeat(string(rune('a'+i%26)), 100_000+i)
			c, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				results <- err.Error()
				return
			}
			defer c.Close()
			sent := make(chan error, 1)
			go func() {
				_, err := io.Copy(c, strings.NewReader(text))
				_ = c.(*net.TCPConn).CloseWrite()
				sent <- err
			}()
			got, err := io.ReadAll(c)
			switch {
			case err != nil || <-sent != nil:
				results <- "connection broken"
			case string(got) != text:
				results <- "got other bytes"
			default:
				results <- ""
			}
		}()
	}
	for range clients {
		if problem := <-results; problem != "" {
			t.Error(problem)
		}
	}
	if c := f.Counts(); c.Accepted != clients || c.BytesIn != c.BytesOut {
		t.Errorf("got %+v", c)
	}
}

// echoAll is a service that sends back what it gets, to many clients at once.
func echoAll(t testing.TB) publish.Dialer {
	t.Helper()
	listener := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		open := 0
		ended := make(chan struct{})
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				break
			}
			open++
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
				ended <- struct{}{}
			}()
		}
		for range open {
			<-ended
		}
	}()
	t.Cleanup(func() {
		networktest.Close(t, listener)
		<-done
	})
	return dialTo("tcp", listener.Addr().String())
}

// BenchmarkTCP passes one connection's bytes through the forwarder.
func BenchmarkTCP(b *testing.B) {
	const piece = 1 << 20
	listener := listen(b)
	got := make(chan int64, 1)
	f := publish.NewTCP(listener, service(b, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}), nil)
	serve(b, f)
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	bytes := make([]byte, piece)
	b.SetBytes(piece)
	sent := int64(0)
	for b.Loop() {
		if _, err := c.Write(bytes); err != nil {
			b.Fatal(err)
		}
		sent += piece
	}
	networktest.Close(b, c)
	if n := <-got; n != sent {
		b.Fatalf("%d bytes of %d arrived", n, sent)
	}
}

// BenchmarkConnection connects, is connected inside, and closes.
func BenchmarkConnection(b *testing.B) {
	listener := listen(b)
	serve(b, publish.NewTCP(listener, service(b, func(*net.TCPConn) {}), nil))
	for b.Loop() {
		if err := converse(listener.Addr()); err != nil {
			b.Fatal(err)
		}
	}
}
