package network_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
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
		mustClose(t, listener)
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

// briefly is how long is waited for what never comes.
func briefly(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 300*time.Millisecond)
}

// links names the interfaces of a namespace that a module did not put there.
func links(t testing.TB, n *network.Namespace) (names string) {
	t.Helper()
	within(t, n, func() error {
		names = hostLinks(t)
		return nil
	})
	return names
}

// hostLinks are those of the calling thread's namespace.
func hostLinks(t testing.TB) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, i := range all {
		if i.Index == 1 || i.Index >= 100 {
			names = append(names, i.Name)
		}
	}
	return strings.Join(names, " ")
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// askHere connects from the calling thread's namespace and reads until the end.
func askHere(address string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	all, err := io.ReadAll(c)
	return string(all), err
}

// mustClose closes what the test made.
func mustClose(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
