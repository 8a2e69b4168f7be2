package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// maxNotification is the size of a datagram that is read whole; systemd's own
// bound (NOTIFY_BUFFER_MAX).
const maxNotification = 4096

// Notify is the other end of sd_notify(3): a datagram socket with a path, which
// the supervisor mounts into the sandbox and names in NOTIFY_SOCKET. It is safe
// for concurrent use.
type Notify struct {
	path  string
	conn  *net.UnixConn
	ready chan struct{}
	ended chan struct{} // closed when the reader has

	mu     sync.Mutex
	status string // guarded by mu
}

// ListenNotify makes the socket at path, which must not exist, for everybody to
// write to: who can reach it is decided by the mount. Close ends it.
func ListenNotify(path string) (*Notify, error) {
	conn, err := bindNotify(path)
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open the notification socket to the sandbox: %w", err), conn.Close(), os.Remove(path))
	}
	n := &Notify{path: path, conn: conn, ready: make(chan struct{}), ended: make(chan struct{})}
	go n.read()
	return n, nil
}

// bindNotify makes the socket by way of its directory's descriptor: an address
// has room for 107 bytes (unix(7)), and state directories are deep.
func bindNotify(path string) (*net.UnixConn, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		return nil, &os.PathError{Op: "bind", Path: path, Err: cause(err)}
	}
	return conn, nil
}

// cause is the error of the system call: net.OpError has the address, which says
// nothing to anybody.
func cause(err error) error {
	if number := syscall.Errno(0); errors.As(err, &number) {
		return number
	}
	return err
}

// Ready is closed when READY=1 has come.
func (n *Notify) Ready() <-chan struct{} { return n.ready }

// Status is the last STATUS= that came, made printable; empty without any.
func (n *Notify) Status() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// Close ends the socket and removes its path.
func (n *Notify) Close() error {
	err := n.conn.Close()
	<-n.ended
	if removed := os.Remove(n.path); removed != nil && !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

// read takes notifications until the socket is closed.
func (n *Notify) read() {
	defer close(n.ended)
	buffer := make([]byte, maxNotification)
	isReady := false
	for {
		size, err := n.conn.Read(buffer)
		if err != nil {
			return
		}
		ready, status := parseNotification(buffer[:size])
		if status != "" {
			n.mu.Lock()
			n.status = status
			n.mu.Unlock()
		}
		if ready && !isReady {
			isReady = true
			close(n.ready)
		}
	}
}

// parseNotification reads a datagram of sd_notify(3): lines of NAME=VALUE, of
// which two are of interest.
func parseNotification(datagram []byte) (ready bool, status string) {
	for line := range bytes.SplitSeq(datagram, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte("="))
		switch string(name) {
		case "READY":
			ready = ready || string(value) == "1"
		case "STATUS":
			status = printable(value)
		}
	}
	return ready, status
}
