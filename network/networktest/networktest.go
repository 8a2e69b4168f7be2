package networktest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
)

// RequireRoot skips a test that cannot work, and says why.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
}

// Enter puts the test's thread into a network namespace of its own, as a
// supervisor's threads are. The test is locked to its thread until it ends, which
// is then back where it was.
func Enter(t testing.TB) {
	t.Helper()
	RequireRoot(t)
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

// NewNamespace makes a namespace that is closed at the test's end.
func NewNamespace(t testing.TB) *network.Namespace {
	t.Helper()
	RequireRoot(t)
	n, err := network.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(t, n) })
	return n
}

// OpenStack enters a namespace and opens a Stack there.
func OpenStack(t testing.TB) *network.Stack {
	t.Helper()
	Enter(t)
	stack, err := network.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(t, stack) })
	return stack
}

// OpenStackIn opens a Stack in a namespace.
func OpenStackIn(t testing.TB, n *network.Namespace) *network.Stack {
	t.Helper()
	var stack *network.Stack
	Within(t, n, func() (err error) {
		stack, err = network.Open()
		return err
	})
	t.Cleanup(func() { Close(t, stack) })
	return stack
}

// AddBridge makes a bridge with the first address of each prefix.
func AddBridge(t testing.TB, stack *network.Stack, name string, prefixes ...string) {
	t.Helper()
	if err := stack.AddBridge(network.Bridge{Name: name, Addresses: Prefixes(prefixes...)}); err != nil {
		t.Fatal(err)
	}
}

// AddService makes a namespace with one interface.
func AddService(t testing.TB, stack *network.Stack, i network.Interface) *network.Namespace {
	t.Helper()
	n := NewNamespace(t)
	if err := stack.Attach(n, i); err != nil {
		t.Fatal(err)
	}
	return n
}

// Within runs f on a thread in a namespace. f must not end the test: the thread
// is not the test's.
func Within(t testing.TB, n *network.Namespace, f func() error) {
	t.Helper()
	if err := Inside(n, f); err != nil {
		t.Fatal(err)
	}
}

// Inside is Within for those who look at the error. The thread comes back, so
// that what looks at the threads of the process sees none elsewhere.
func Inside(n *network.Namespace, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("setns: %w", err)
			return
		}
		err = f()
		// Otherwise not unlocked: the thread ends with the goroutine.
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Serve answers each connection to an address inside a namespace, until the
// test's end.
func Serve(t testing.TB, n *network.Namespace, address string, answer func(from net.Addr) string) {
	t.Helper()
	var listener net.Listener
	Within(t, n, func() (err error) {
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
			fmt.Fprint(c, answer(c.RemoteAddr()))
			c.Close()
		}
	}()
	t.Cleanup(func() {
		Close(t, listener)
		<-done
	})
}

// Ask connects from a namespace and reads until the end.
func Ask(ctx context.Context, n *network.Namespace, address string) (string, error) {
	c, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	all, err := io.ReadAll(c)
	return string(all), err
}

// Prefixes parses addresses with their prefix lengths.
func Prefixes(texts ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range texts {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

// Close closes what the test made.
func Close(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
