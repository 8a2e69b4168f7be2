package network_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// TestMain also holds that no goroutine is left by any test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers each connection to an address inside a namespace with a text.
func serve(t testing.TB, n *network.Namespace, address, text string) {
	t.Helper()
	networktest.Serve(t, n, address, func(net.Addr) string { return text })
}

// briefly is how long is waited for what never comes.
func briefly(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 300*time.Millisecond)
}

// links names the interfaces of a namespace that a module did not put there.
func links(t testing.TB, n *network.Namespace) (names string) {
	t.Helper()
	networktest.Within(t, n, func() error {
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
