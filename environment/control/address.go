package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxAddress is the longest path in an address, unix(7).
const maxAddress = 107

// Listen makes the socket at path, in place of one that a dead environment left: the
// caller has the environment's lock. Closing the listener leaves the socket's file.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	var listener *net.UnixListener
	err := withAddress(path, func(address *net.UnixAddr) (err error) {
		listener, err = net.ListenUnix("unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make control socket %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	return listener, nil
}

// Inherit takes over a listening socket that this process was started with.
func Inherit(fd int) (*net.UnixListener, error) {
	file := os.NewFile(uintptr(fd), "control socket")
	defer file.Close() // the listener has a duplicate
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("inherit control socket: %w", err)
	}
	l, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("inherit control socket: descriptor %d is a %s socket", fd, listener.Addr().Network()), listener.Close())
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// connect returns ErrNotRunning if there is no socket or nobody listens.
func connect(path string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	err := withAddress(path, func(address *net.UnixAddr) (err error) {
		conn, err = net.DialUnix("unix", nil, address)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, ErrNotRunning
	case err != nil:
		return nil, fmt.Errorf("connect to control socket: %w", err)
	}
	return conn, nil
}

// withAddress calls use with an address that leads to path. Longer paths than an
// address holds go by a descriptor of the directory.
func withAddress(path string, use func(*net.UnixAddr) error) error {
	if len(path) <= maxAddress {
		return use(&net.UnixAddr{Name: path, Net: "unix"})
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	return use(&net.UnixAddr{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path), Net: "unix"})
}
