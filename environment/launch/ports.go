package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/sockets"
)

// openPort is a published port with its socket.
type openPort struct {
	environment.OpenPort
	file *os.File
}

// openPorts opens every published port in the host's network namespace. Those with a
// number of their own are first, then ranges: a number that is picked must not be one
// that somebody asks for.
func (b *birth) openPorts(context.Context) error {
	for _, turn := range []func(plan.Port) bool{
		func(p plan.Port) bool { return p.HostPort != 0 && p.HostPortEnd == 0 },
		func(p plan.Port) bool { return p.HostPort != 0 && p.HostPortEnd != 0 },
		func(p plan.Port) bool { return p.HostPort == 0 },
	} {
		for _, service := range b.opts.Plan.Services {
			for _, port := range service.Ports {
				if !turn(port) {
					continue
				}
				opened, err := open(service.Name, port)
				if err != nil {
					return b.explainPort(service.Name, port, err)
				}
				b.ports = append(b.ports, opened)
			}
		}
	}
	return nil
}

func open(service string, port plan.Port) (openPort, error) {
	ip := port.HostIP
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	at := port.HostPort
	socket, err := listen(port.Protocol, netip.AddrPortFrom(ip, at))
	for errors.Is(err, unix.EADDRINUSE) && at < port.HostPortEnd {
		at++
		socket, err = listen(port.Protocol, netip.AddrPortFrom(ip, at))
	}
	if err != nil {
		return openPort{}, err
	}
	// The descriptor goes to the supervisor as a duplicate; this one is not needed.
	file, err := socket.File()
	err = errors.Join(err, socket.Close())
	if err != nil {
		return openPort{}, err
	}
	opened, err := describe(file)
	if err != nil {
		file.Close()
		return openPort{}, err
	}
	opened.Service, opened.Target, opened.Protocol, opened.HostIP = service, port.Target, port.Protocol, ip
	return openPort{OpenPort: opened, file: file}, nil
}

// socket is a net.TCPListener or a net.UDPConn.
type socket interface {
	File() (*os.File, error)
	Close() error
}

// listen takes an IPv4 address as one of IPv4 alone, and [::] as one of IPv6 alone.
func listen(protocol string, address netip.AddrPort) (socket, error) {
	family := "4"
	if address.Addr().Is6() {
		family = "6"
	}
	switch protocol {
	case "tcp":
		return net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(address))
	case "udp":
		return net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(address))
	default:
		return nil, fmt.Errorf("protocol %q; use tcp or udp", protocol)
	}
}

// describe fills in what only the socket knows: its inode and, where it was picked,
// its port.
func describe(file *os.File) (environment.OpenPort, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return environment.OpenPort{}, err
	}
	var opened environment.OpenPort
	var inner error
	err = raw.Control(func(fd uintptr) {
		var st unix.Stat_t
		if inner = unix.Fstat(int(fd), &st); inner != nil {
			inner = os.NewSyscallError("fstat", inner)
			return
		}
		opened.Inode = st.Ino
		name, err := unix.Getsockname(int(fd))
		if err != nil {
			inner = os.NewSyscallError("getsockname", err)
			return
		}
		switch address := name.(type) {
		case *unix.SockaddrInet4:
			opened.HostPort = uint16(address.Port)
		case *unix.SockaddrInet6:
			opened.HostPort = uint16(address.Port)
		}
	})
	return opened, errors.Join(err, inner)
}

// portError is a leaf error whose whole text is for the user.
type portError struct {
	text string
	err  error
}

func (e *portError) Error() string   { return e.text }
func (e *portError) Unwrap() []error { return []error{e.err} }

// explainPort says for which service a port could not be opened, and who has it.
func (b *birth) explainPort(service string, port plan.Port, err error) error {
	address := netip.AddrPortFrom(port.HostIP, port.HostPort)
	what := fmt.Sprintf("cannot publish port %d/%s of service %s at %s", port.Target, port.Protocol, service, address)
	switch {
	case errors.Is(err, unix.EADDRINUSE) && port.HostPortEnd != 0:
		return &portError{
			text: fmt.Sprintf("%s: each port up to %d is in use; free one, or publish another range (host port 0, or none, picks one that is free)", what, port.HostPortEnd),
			err:  errors.Join(ErrPortInUse, err),
		}
	case errors.Is(err, unix.EADDRINUSE):
		return &portError{
			text: fmt.Sprintf("%s: %s; free it, or publish another one (host port 0, or none, picks one that is free)", what, b.holder(port.Protocol, address)),
			err:  errors.Join(ErrPortInUse, err),
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &portError{text: what + ": this host has no such address; leave it out, or use 127.0.0.1", err: err}
	case errors.Is(err, unix.EACCES):
		return &portError{text: what + ": ports below net.ipv4.ip_unprivileged_port_start are root's; publish another one", err: err}
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// holder says in a clause who has an address. What cannot be found out is left out:
// the port is in use all the same.
func (b *birth) holder(protocol string, address netip.AddrPort) string {
	for _, p := range b.ports {
		if p.Protocol == protocol && len(sockets.Conflicts([]sockets.Socket{{Local: netip.AddrPortFrom(p.HostIP, p.HostPort)}}, address)) > 0 {
			return "service " + p.Service + " of this environment has it"
		}
	}
	waiting, err := sockets.Waiting(protocol)
	if err != nil {
		return "it is in use"
	}
	conflicts := sockets.Conflicts(waiting, address)
	if name := b.environmentWith(conflicts); name != "" {
		return fmt.Sprintf("environment %q has it (sandboxrun env down -p %s)", name, name)
	}
	holders, err := sockets.Holders(conflicts)
	if err != nil || len(holders) == 0 {
		return "it is in use"
	}
	names := make([]string, len(holders))
	for i, h := range holders {
		names[i] = h.String()
	}
	return strings.Join(names, ", ") + " has it"
}

// environmentWith returns the name of the environment that opened one of the sockets.
func (b *birth) environmentWith(conflicts []sockets.Socket) string {
	list, err := b.opts.Roots.List()
	if err != nil {
		return ""
	}
	for _, e := range list {
		if e.Record == nil {
			continue
		}
		for _, p := range e.Record.Ports {
			for _, s := range conflicts {
				if s.Inode == p.Inode {
					return e.Name
				}
			}
		}
	}
	return ""
}
