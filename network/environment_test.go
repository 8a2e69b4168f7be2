package network_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
)

// TestMain also holds that no goroutine is left by any test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStack puts the test's thread into a network namespace of its own, as a supervisor's threads are, and opens a Stack.
func openStack(t testing.TB) *network.Stack {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	enterNewNamespace(t)
	stack, err := network.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	})
	return stack
}

// enterNewNamespace locks the test to its thread until it ends, which is then back where it was.
func enterNewNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer home.Close()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	})
}

// addBridge makes a bridge with the first address of each prefix.
func addBridge(t testing.TB, stack *network.Stack, name string, prefixes ...string) {
	t.Helper()
	b := network.Bridge{Name: name}
	for _, p := range prefixes {
		b.Addresses = append(b.Addresses, netip.MustParsePrefix(p))
	}
	if err := stack.AddBridge(b); err != nil {
		t.Fatal(err)
	}
}

// addService makes a namespace with one interface.
func addService(t testing.TB, stack *network.Stack, i network.Interface) *network.Namespace {
	t.Helper()
	n := newNamespace(t)
	if err := stack.Attach(n, i); err != nil {
		t.Fatal(err)
	}
	return n
}

func newNamespace(t testing.TB) *network.Namespace {
	t.Helper()
	n, err := network.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// within runs f on a thread in the namespace.
func within(t testing.TB, n *network.Namespace, f func() error) {
	t.Helper()
	result := make(chan error)
	go func() {
		// Not unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("setns: %w", err)
			return
		}
		result <- f()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// serve answers each connection to an address inside a namespace with a text.
func serve(t testing.TB, n *network.Namespace, address, text string) {
	t.Helper()
	var listener net.Listener
	within(t, n, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, text)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
}

func prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range texts {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}
