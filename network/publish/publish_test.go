package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/networktest"
	"github.com/sandboxrun/sandboxrun/network/publish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a server inside: each connection is handed to handle, which closes it.
func service(t testing.TB, handle func(*net.TCPConn)) publish.Dialer {
	t.Helper()
	listener := listen(t)
	var served = make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		networktest.Close(t, listener)
		<-served
	})
	return dialTo("tcp", listener.Addr().String())
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func dialTo(network, address string) publish.Dialer {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) }
}

// serve runs a forwarder until the test ends.
func serve(t testing.TB, forwarder interface {
	Serve(context.Context) error
}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- forwarder.Serve(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-result; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, address net.Addr) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// converse connects and reads until the end. A reset can be there before connect(2) has returned.
func converse(address net.Addr) error {
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadAll(c)
	return err
}

func TestTheEndOfSendingIsPassedOn(t *testing.T) {
	listener := listen(t)
	f := publish.NewTCP(listener, service(t, func(c *net.TCPConn) {
		// It answers only when it has seen the end of the question.
		all, err := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes, %v", len(all), err)
	}), nil)
	stop := serve(t, f)
	c := dial(t, listener.Addr())
	const size = 3 << 20
	if _, err := io.Copy(c, io.LimitReader(strings.NewReader(strings.Repeat("x", size)), size)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	want := fmt.Sprintf("%d bytes, <nil>", size)
	if string(got) != want || err != nil {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	stop()
	if got, want := f.Counts(), (publish.Counts{Accepted: 1, BytesIn: size, BytesOut: uint64(len(want))}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestARefusedConnectionIsReset(t *testing.T) {
	nobody := listen(t)
	address := nobody.Addr().String()
	networktest.Close(t, nobody)
	listener := listen(t)
	f := publish.NewTCP(listener, dialTo("tcp", address), nil)
	serve(t, f)
	if err := converse(listener.Addr()); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if c := f.Counts(); c.Refused != 1 || c.Accepted != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestAResetIsPassedOn(t *testing.T) {
	for _, from := range []string{"the service", "the client"} {
		t.Run("of "+from, func(t *testing.T) {
			listener := listen(t)
			seen := make(chan error, 1)
			f := publish.NewTCP(listener, service(t, func(c *net.TCPConn) {
				if from == "the service" {
					_ = c.SetLinger(0)
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, err := io.ReadAll(c)
				seen <- err
			}), nil)
			serve(t, f)
			if from == "the client" {
				c := dial(t, listener.Addr())
				if _, err := c.Write([]byte("half a ques")); err != nil {
					t.Fatal(err)
				}
				_ = c.SetLinger(0)
				c.Close()
			} else {
				seen <- converse(listener.Addr())
			}
			if err := <-seen; !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("got %v, want a reset", err)
			}
		})
	}
}

func TestServeEndsWithWhatItForwards(t *testing.T) {
	listener := listen(t)
	reached, held := make(chan struct{}), make(chan struct{})
	f := publish.NewTCP(listener, service(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		close(reached)
		_, _ = io.ReadAll(c)
		close(held)
	}), nil)
	stop := serve(t, f)
	c := dial(t, listener.Addr())
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	<-reached
	if f.Counts().Active != 1 {
		t.Errorf("got %+v", f.Counts())
	}
	stop()
	<-held
	if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if f.Counts().Active != 0 {
		t.Errorf("got %+v", f.Counts())
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the socket still listens")
	}
}

func TestAListenerThatIsClosedEndsServe(t *testing.T) {
	listener := listen(t)
	f := publish.NewTCP(listener, dialTo("tcp", "127.0.0.1:1"), nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Serve(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}
