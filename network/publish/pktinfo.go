package publish

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// askForLocalAddress makes the kernel say with each datagram to which of the host's addresses it came (ip(7), IP_PKTINFO).
// A socket that is bound to one address needs it as little as it hurts.
func (f *UDP) askForLocalAddress() error {
	raw, err := f.socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err == nil && domain == unix.AF_INET6 {
			// Of a client by IPv4 on such a socket the same option tells, as a mapped address.
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		failed = os.NewSyscallError("setsockopt", err)
	}); err != nil {
		return err
	}
	return failed
}

// replyFrom makes, of the ancillary data of a datagram, that of replies which come from the address it was sent to. Nil
// leaves the choice to the kernel. The interface is left open, since the way back is the routing table's.
func replyFrom(ancillary []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(ancillary)
	if err != nil {
		return nil
	}
	for i := range messages {
		m := &messages[i]
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: index, local address, destination. The local address is not there for a datagram that came
			// before the option was set.
			local, destination := netip.AddrFrom4([4]byte(m.Data[4:8])), netip.AddrFrom4([4]byte(m.Data[8:12]))
			if local.IsUnspecified() {
				local = destination
			}
			if local.IsUnspecified() || local.IsMulticast() {
				return nil
			}
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			info := &unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])}
			local := netip.AddrFrom16(info.Addr)
			if local.IsUnspecified() || local.Unmap().IsMulticast() {
				return nil
			}
			if local.IsLinkLocalUnicast() {
				// A link-local address is one of its interface only.
				info.Ifindex = binary.NativeEndian.Uint32(m.Data[16:])
			}
			return unix.PktInfo6(info)
		}
	}
	return nil
}
