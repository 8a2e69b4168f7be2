package publish_test

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/network/networktest"
	"github.com/sandboxrun/sandboxrun/network/publish"
)

// echo is a UDP service that answers each datagram with the sender's address and the text.
func echo(t testing.TB) publish.Dialer {
	t.Helper()
	socket := listenUDP(t, "127.0.0.1:0")
	var served sync.WaitGroup
	served.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := socket.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = socket.WriteToUDPAddrPort(append([]byte(from.String()+" "), buffer[:n]...), from)
		}
	})
	t.Cleanup(func() {
		networktest.Close(t, socket)
		served.Wait()
	})
	return dialTo("udp", socket.LocalAddr().String())
}

func listenUDP(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// client is a connected socket: it takes replies from the address that it sends to alone.
func client(t testing.TB, to string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends a text and gives the reply.
func say(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<16)
	n, err := c.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func at(socket *net.UDPConn, ip string) string {
	port := socket.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port).String()
}

func TestRepliesComeFromTheAddressThatWasAsked(t *testing.T) {
	for _, listening := range []string{"0.0.0.0:0", "[::]:0", "127.0.0.9:0"} {
		t.Run(listening, func(t *testing.T) {
			// The family of the address, not one socket for both.
			network := "udp4"
			if listening == "[::]:0" {
				network = "udp"
			}
			socket, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(listening)))
			if err != nil {
				t.Fatal(err)
			}
			serve(t, publish.NewUDP(socket, echo(t), publish.UDPOptions{}))
			to := []string{"127.0.0.9"}
			if listening != "127.0.0.9:0" {
				to = append(to, "127.0.0.1")
			}
			if listening == "[::]:0" {
				to = append(to, "::1")
			}
			for _, ip := range to {
				c := client(t, at(socket, ip))
				first := say(t, c, "hello")
				if second := say(t, c, "hello"); first != second || len(first) <= len("hello") {
					t.Errorf("by %s: got %q, then %q; want one session", ip, first, second)
				}
			}
		})
	}
}

func TestSessionsAreBounded(t *testing.T) {
	socket := listenUDP(t, "127.0.0.1:0")
	f := publish.NewUDP(socket, echo(t), publish.UDPOptions{MaxSessions: 2})
	serve(t, f)
	var clients []net.Conn
	var first []string
	for range 3 {
		c := client(t, at(socket, "127.0.0.1"))
		clients = append(clients, c)
		first = append(first, say(t, c, "x"))
	}
	if got := say(t, clients[1], "x"); got != first[1] {
		t.Errorf("the second client's session changed from %q to %q", first[1], got)
	}
	if got := say(t, clients[0], "x"); got == first[0] {
		t.Errorf("the first client still has the session %q; it had to make room", got)
	}
	if c := f.Counts(); c.Accepted != 4 || c.Active > 3 || c.Dropped != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestAnIdleSessionEnds(t *testing.T) {
	socket := listenUDP(t, "127.0.0.1:0")
	f := publish.NewUDP(socket, echo(t), publish.UDPOptions{Idle: 300 * time.Millisecond})
	serve(t, f)
	c := client(t, at(socket, "127.0.0.1"))
	say(t, c, "x")
	deadline := time.Now().Add(10 * time.Second)
	for f.Counts().Active != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the session lives on: %+v", f.Counts())
		}
		<-time.After(time.Millisecond)
	}
	say(t, c, "x")
	if got := f.Counts(); got.Accepted != 2 || got.Dropped != 0 {
		t.Errorf("got %+v, want a second session", got)
	}
}

func TestAServiceThatComesLaterIsReached(t *testing.T) {
	reserved := listenUDP(t, "127.0.0.1:0")
	address := reserved.LocalAddr().String()
	networktest.Close(t, reserved)
	socket := listenUDP(t, "127.0.0.1:0")
	f := publish.NewUDP(socket, dialTo("udp", address), publish.UDPOptions{})
	serve(t, f)
	c := client(t, at(socket, "127.0.0.1"))
	deadline := time.Now().Add(10 * time.Second)
	for f.Counts().Refused == 0 && f.Counts().Dropped == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was refused: %+v", f.Counts())
		}
		if _, err := c.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Millisecond)
	}
	late := listenUDP(t, address)
	defer late.Close()
	if _, err := c.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if err := late.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 10)
	for {
		n, err := late.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if string(buffer[:n]) == "late" {
			return
		}
		// The write before found the refusal of an earlier datagram instead of sending: say it again.
		if _, err := c.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
	}
}
