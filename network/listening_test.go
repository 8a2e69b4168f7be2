package network_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestWhatListensInANamespace(t *testing.T) {
	n := networktest.NewNamespace(t)
	ask := func(protocol string, ports ...uint16) bool {
		t.Helper()
		listening, err := n.Listening(protocol, ports...)
		if err != nil {
			t.Fatal(err)
		}
		return listening
	}
	if ask("tcp", 80) || ask("udp", 53) || !ask("tcp") {
		t.Error("something listens in a new namespace")
	}
	var sockets []interface{ Close() error }
	var connected net.Conn
	networktest.Within(t, n, func() error {
		for _, address := range []string{"127.0.0.1:80", "[::1]:81"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			sockets = append(sockets, l)
		}
		l, err := net.ListenPacket("udp", "127.0.0.1:53")
		if err != nil {
			return err
		}
		sockets = append(sockets, l)
		if connected, err = net.Dial("udp", "127.0.0.1:53"); err != nil {
			return err
		}
		sockets = append(sockets, connected)
		c, err := net.Dial("tcp", "127.0.0.1:80")
		sockets = append(sockets, c)
		return err
	})
	for _, tt := range []struct {
		protocol string
		ports    []uint16
		want     bool
	}{
		{"tcp", []uint16{80}, true},
		{"tcp", []uint16{81}, true},
		{"tcp", []uint16{80, 81}, true},
		{"tcp", []uint16{80, 82}, false},
		{"tcp", []uint16{53}, false},
		{"udp", []uint16{53}, true},
		{"udp", []uint16{80}, false},
		// It has a peer: it waits for nobody.
		{"udp", []uint16{connected.LocalAddr().(*net.UDPAddr).AddrPort().Port()}, false},
	} {
		if got := ask(tt.protocol, tt.ports...); got != tt.want {
			t.Errorf("%s %v: got %v, want %v", tt.protocol, tt.ports, got, tt.want)
		}
	}
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "127.0.0.2:80": false, "[::1]:80": false, "[::1]:81": true, "127.0.0.1:81": false, "127.0.0.1:53": false,
	} {
		if got, err := n.ListeningAt(netip.MustParseAddrPort(address)); got != want || err != nil {
			t.Errorf("at %s: got %v, %v; want %v", address, got, err, want)
		}
	}
	listeners, err := n.Listeners("tcp")
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("[::1]:81")}
	if err != nil || !slices.Equal(listeners, want) {
		t.Errorf("got %v, %v; want %v", listeners, err, want)
	}
	for _, s := range sockets {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if ask("tcp", 80) || ask("udp", 53) {
		t.Error("a closed socket listens")
	}
	if _, err := n.Listening("sctp", 1); !errors.Is(err, network.ErrProtocol) {
		t.Errorf("got %v, want %v", err, network.ErrProtocol)
	}
}

func TestListenersOnAllAddressesAreFound(t *testing.T) {
	n := networktest.NewNamespace(t)
	networktest.Within(t, n, func() error {
		for network, address := range map[string]string{"tcp4": "0.0.0.0:80", "tcp6": "[::]:81", "tcp": "[::]:82"} {
			l, err := net.Listen(network, address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { networktest.Close(t, l) })
		}
		return nil
	})
	for address, want := range map[string]bool{
		"127.0.0.7:80": true, "[::1]:80": false, "127.0.0.1:81": false, "[::1]:81": true, "127.0.0.1:82": true, "[::1]:82": true,
	} {
		if got, err := n.ListeningAt(netip.MustParseAddrPort(address)); got != want || err != nil {
			t.Errorf("at %s: got %v, %v; want %v", address, got, err, want)
		}
	}
}

// TestHundredsOfListeners holds that an answer of several datagrams is read whole.
func TestHundredsOfListeners(t *testing.T) {
	networktest.RequireRoot(t)
	const first, count = 10000, 400
	n := networktest.NewNamespace(t)
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			networktest.Close(t, l)
		}
	}()
	networktest.Within(t, n, func() error {
		for port := first; port < first+count; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
		}
		return nil
	})
	found, err := n.Listeners("tcp")
	if len(found) != count || err != nil {
		t.Errorf("got %d listeners, %v; want %d", len(found), err, count)
	}
	if listening, err := n.Listening("tcp", first, first+count-1); !listening || err != nil {
		t.Errorf("got %v, %v", listening, err)
	}
}

func TestAClosedNamespaceSaysSo(t *testing.T) {
	networktest.RequireRoot(t)
	n, err := network.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	before := n.Path()
	if target, err := os.Readlink(before); err != nil || !strings.HasPrefix(target, "net:[") {
		t.Errorf("%s is %q, %v; want a network namespace", before, target, err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Listening("tcp", 80); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
	if _, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:80"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}

// TestThreadsComeBack holds that no thread is left in another namespace by what is done in one.
func TestThreadsComeBack(t *testing.T) {
	networktest.RequireRoot(t)
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		n, err := network.NewNamespace()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:9"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("got %v, want a refusal", err)
		}
		if _, err := n.Listening("tcp", 9); err != nil {
			t.Error(err)
		}
		networktest.Close(t, n)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		now, err := os.Readlink("/proc/self/task/" + thread.Name() + "/ns/net")
		if err == nil && now != own {
			t.Errorf("thread %s is in %s, the process in %s", thread.Name(), now, own)
		}
	}
}

// BenchmarkService makes what one service costs, and leaves the taking down to the end: the kernel waits there.
func BenchmarkService(b *testing.B) {
	stack := networktest.OpenStack(b)
	networktest.AddBridge(b, stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	var namespaces []*network.Namespace
	before := processorTime(b)
	for b.Loop() {
		n, err := network.NewNamespace()
		if err != nil {
			b.Fatal(err)
		}
		namespaces = append(namespaces, n)
		host := len(namespaces) + 1
		if err := stack.Attach(n, network.Interface{
			Name: "eth0", Bridge: "front", Gateways: []netip.Addr{netip.MustParseAddr("172.20.0.1")},
			Addresses: networktest.Prefixes(fmt.Sprintf("172.20.%d.%d/16", host/256, host%256), fmt.Sprintf("fd00:20::%x/64", host)),
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
	for _, n := range namespaces {
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// processorTime is that of this process, in user mode and in the kernel, in nanoseconds.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func BenchmarkListening(b *testing.B) {
	n := networktest.NewNamespace(b)
	before := processorTime(b)
	for b.Loop() {
		if _, err := n.Listening("tcp", 80); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
}

func BenchmarkListeningAt(b *testing.B) {
	n := networktest.NewNamespace(b)
	before := processorTime(b)
	for b.Loop() {
		if _, err := n.ListeningAt(netip.MustParseAddrPort("127.0.0.1:80")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
}
