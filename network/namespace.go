package network

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/internal/rtnetlink"
)

// Namespace is a network namespace, held by a descriptor: it lives until Close and the end of its last process. It is safe
// for several goroutines.
type Namespace struct {
	// file is open on the namespace.
	file *os.File

	mu    sync.Mutex
	route *rtnetlink.Socket // guarded by mu; opened inside at the first use
	diag  *rtnetlink.Socket // guarded by mu; the same
	links map[string]int32  // guarded by mu; by the interface's name inside, the index of its other end
}

// defaults are set in each new namespace, before there is an interface that they could come too late for.
var defaults = []struct{ path, value string }{
	// Duplicate address detection waits a second before an address can be used. We hand addresses out: there are no
	// duplicates. Ours are added without it; this is for the link-local ones.
	{"/proc/sys/net/ipv6/conf/default/accept_dad", "0"},
	// A service could make itself its neighbours' router.
	{"/proc/sys/net/ipv6/conf/default/accept_ra", "0"},
}

// NewNamespace makes a network namespace with nothing but its loopback interface, up. The user closes it.
func NewNamespace() (*Namespace, error) {
	n := &Namespace{links: map[string]int32{}}
	err := elsewhere(func() error {
		return os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	}, func(func() error) error {
		var err error
		if n.file, err = os.Open(threadNamespace); err != nil {
			return err
		}
		for _, d := range defaults {
			if err := setSysctl(d.path, d.value); err != nil {
				return err
			}
		}
		if n.route, err = rtnetlink.Open(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		return n.route.Do(linkUp(loopbackIndex, "bring up loopback"))
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", errors.Join(err, n.Close()))
	}
	return n, nil
}

// OpenNamespace takes a descriptor of a network namespace, such as one of the host's that was inherited, and owns it from
// then on: Close closes it.
func OpenNamespace(file *os.File) (*Namespace, error) {
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, fmt.Errorf("cannot use %q as a network namespace: it is none; open /proc/PID/ns/net", file.Name())
	}
	return &Namespace{file: file, links: map[string]int32{}}, nil
}

// FD is the descriptor, close-on-exec, owned by the Namespace.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Path names the namespace for whoever sees this process in /proc: another process too, so not by /proc/self. It holds while
// the Namespace is open.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.FD()) }

// Close gives up the descriptor. The namespace goes when no process is in it any more; the kernel dismantles it a moment
// later. A second time does nothing.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, socket := range []*rtnetlink.Socket{n.route, n.diag} {
		if socket != nil {
			errs = append(errs, socket.Close())
		}
	}
	if n.file != nil {
		if err := n.file.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// run runs do on a thread inside the namespace; see elsewhere.
func (n *Namespace) run(do func(leave func() error) error) error {
	return elsewhere(func() error {
		raw, err := n.file.SyscallConn()
		if err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		var entered error
		// Held by Control, the number cannot become another file's under the call.
		if raw.Control(func(fd uintptr) { entered = os.NewSyscallError("setns", unix.Setns(int(fd), unix.CLONE_NEWNET)) }) != nil {
			entered = os.ErrClosed
		}
		if entered != nil {
			return fmt.Errorf("enter network namespace: %w", entered)
		}
		return nil
	}, do)
}

// routeSocket gives the socket by which interfaces inside are changed.
func (n *Namespace) routeSocket() (*rtnetlink.Socket, error) {
	return n.socket(&n.route, unix.NETLINK_ROUTE)
}

// socket opens a socket inside at its first use.
func (n *Namespace) socket(at **rtnetlink.Socket, protocol int) (*rtnetlink.Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if *at != nil {
		return *at, nil
	}
	err := n.run(func(func() error) (err error) {
		*at, err = rtnetlink.Open(protocol)
		return err
	})
	return *at, err
}

// setSysctl writes a sysctl of the calling thread's network namespace. One that the kernel does not have (IPv6 switched off
// on its command line) needs no setting.
func setSysctl(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(value)
	return err
}
