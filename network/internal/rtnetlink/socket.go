package rtnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// An acknowledgement is its header, an errno and a line of text.
	acknowledgementBuffer = 1 << 10
	// The kernel fits a dump's datagrams to the reader's buffer (net/netlink/af_netlink.c, netlink_dump), down to a page of 8 KiB.
	dumpBuffer = 8 << 10
)

// Socket is an open netlink socket. It is safe for several goroutines, whose requests take turns. It stays in the network
// namespace that it was opened in, wherever its users' threads are.
type Socket struct {
	mu       sync.Mutex
	fd       int    // guarded by mu; -1 when closed
	sequence uint32 // guarded by mu
	dump     []byte // guarded by mu; kept, since who dumps does it often
}

// Open opens a socket of a protocol, unix.NETLINK_ROUTE or NETLINK_INET_DIAG, in the network namespace of the calling thread.
func Open(protocol int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Without these two an error is a bare number, and every acknowledgement repeats its request. Kernels before 4.12 lack them.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &Socket{fd: fd}, nil
}

// Close closes the socket; a second time does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// Request is one message: its type (RTM_NEWLINK, …), flags beside NLM_F_REQUEST and NLM_F_ACK, and its parts in order.
type Request struct {
	Type  uint16
	Flags uint16
	Parts []nl.NetlinkRequestData
	// What names the request in an error: "add bridge \"front\"".
	What string
}

// Do sends all requests by one system call and reads one acknowledgement, that of the last: of the others the kernel tells
// failures only. It carries them out in order and goes on after one that fails; the error is of the first that failed,
// wrapped with its What, and has a unix.Errno below.
func (s *Socket) Do(requests ...Request) error {
	if len(requests) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.sequence + 1
	var datagram []byte
	for i, r := range requests {
		s.sequence++
		flags := r.Flags
		if i == len(requests)-1 {
			flags |= unix.NLM_F_ACK
		}
		datagram = append(datagram, encode(r, flags, s.sequence)...)
	}
	if err := s.send(datagram); err != nil {
		return fmt.Errorf("%s: %w", requests[0].What, err)
	}
	var failed error
	buffer := make([]byte, acknowledgementBuffer)
	for {
		messages, err := s.receive(buffer)
		if err != nil {
			return fmt.Errorf("%s: %w", requests[0].What, err)
		}
		for _, m := range messages {
			i := m.header.Seq - first
			if m.header.Type != unix.NLMSG_ERROR || i >= uint32(len(requests)) {
				continue // an answer to a request that an earlier call gave up
			}
			if err := acknowledgement(m); err != nil && failed == nil {
				failed = fmt.Errorf("%s: %w", requests[i].What, err)
			}
			if m.header.Seq == s.sequence {
				return failed
			}
		}
	}
}

// Dump sends one request with NLM_F_DUMP and hands each answer's payload to visit, which must not keep it. A dump that
// changed while it was read is given as it came: entries may be missing or there twice.
func (s *Socket) Dump(r Request, visit func(payload []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	if err := s.send(encode(r, r.Flags|unix.NLM_F_DUMP, s.sequence)); err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	if s.dump == nil {
		s.dump = make([]byte, dumpBuffer)
	}
	var visited error
	for {
		messages, err := s.receive(s.dump)
		if err != nil {
			return fmt.Errorf("%s: %w", r.What, err)
		}
		for _, m := range messages {
			switch {
			case m.header.Seq != s.sequence:
			case m.header.Type == unix.NLMSG_DONE:
				return visited
			case m.header.Type == unix.NLMSG_ERROR:
				if err := acknowledgement(m); err != nil {
					return fmt.Errorf("%s: %w", r.What, err)
				}
				return visited
			case visited == nil:
				// The rest is read all the same: what stays in the socket would meet the next request.
				visited = visit(m.payload)
			}
		}
	}
}

// Ask sends one request that has one answer, and gives the answer's payload. An error of the kernel is as with Do.
func (s *Socket) Ask(r Request) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	if err := s.send(encode(r, r.Flags, s.sequence)); err != nil {
		return nil, fmt.Errorf("%s: %w", r.What, err)
	}
	buffer := make([]byte, acknowledgementBuffer)
	for {
		messages, err := s.receive(buffer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.What, err)
		}
		for _, m := range messages {
			switch {
			case m.header.Seq != s.sequence:
			case m.header.Type != unix.NLMSG_ERROR:
				return m.payload, nil
			default:
				return nil, fmt.Errorf("%s: %w", r.What, acknowledgement(m))
			}
		}
	}
}

// send sends to the kernel. s.mu is held.
func (s *Socket) send(datagram []byte) error {
	if s.fd < 0 {
		return os.ErrClosed
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// message is one netlink message of an answer.
type message struct {
	header  unix.NlMsghdr
	payload []byte
}

// receive reads one datagram into buffer, to which the messages point. s.mu is held.
func (s *Socket) receive(buffer []byte) ([]message, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(s.fd, buffer, nil, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("netlink datagram is longer than %d bytes", len(buffer))
		default:
			return parse(buffer[:n])
		}
	}
}

// encode gives a request's bytes.
func encode(r Request, flags uint16, sequence uint32) []byte {
	request := nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: r.Type, Flags: unix.NLM_F_REQUEST | flags, Seq: sequence},
		Data:     r.Parts,
	}
	encoded := request.Serialize()
	for len(encoded)%unix.NLMSG_ALIGNTO != 0 {
		encoded = append(encoded, 0)
	}
	return encoded
}

// parse splits a datagram into its messages.
func parse(datagram []byte) ([]message, error) {
	var messages []message
	for len(datagram) > 0 {
		if len(datagram) < unix.SizeofNlMsghdr {
			return nil, fmt.Errorf("netlink message of %d bytes is shorter than its header", len(datagram))
		}
		header := unix.NlMsghdr{
			Len:   binary.NativeEndian.Uint32(datagram[0:]),
			Type:  binary.NativeEndian.Uint16(datagram[4:]),
			Flags: binary.NativeEndian.Uint16(datagram[6:]),
			Seq:   binary.NativeEndian.Uint32(datagram[8:]),
			Pid:   binary.NativeEndian.Uint32(datagram[12:]),
		}
		if header.Len < unix.SizeofNlMsghdr || uint64(header.Len) > uint64(len(datagram)) {
			return nil, fmt.Errorf("netlink message says %d bytes where there are %d", header.Len, len(datagram))
		}
		messages = append(messages, message{header, datagram[unix.SizeofNlMsghdr:header.Len]})
		aligned := (int(header.Len) + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		datagram = datagram[min(aligned, len(datagram)):]
	}
	return messages, nil
}

// Error is a refusal by the kernel that it explained. Unwrap gives the errno.
type Error struct {
	Errno unix.Errno
	// Reason is the kernel's own text.
	Reason string
}

func (e *Error) Error() string { return e.Errno.Error() + " (" + e.Reason + ")" }

func (e *Error) Unwrap() error { return e.Errno }

// acknowledgement reads an NLMSG_ERROR: nil for success, a unix.Errno, or an *Error where the kernel gave a reason.
func acknowledgement(m message) error {
	if len(m.payload) < unix.SizeofNlMsgerr {
		return fmt.Errorf("netlink acknowledgement has %d bytes of %d", len(m.payload), unix.SizeofNlMsgerr)
	}
	code := int32(binary.NativeEndian.Uint32(m.payload))
	if code >= 0 {
		return nil
	}
	errno := unix.Errno(-code)
	if m.header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return errno
	}
	tlvs := m.payload[unix.SizeofNlMsgerr:]
	if m.header.Flags&unix.NLM_F_CAPPED == 0 {
		// The request follows the code in full, with the header that is already skipped.
		request := int(binary.NativeEndian.Uint32(m.payload[4:])) - unix.SizeofNlMsghdr
		tlvs = tlvs[min(max(request, 0), len(tlvs)):]
	}
	attributes, err := nl.ParseRouteAttr(tlvs)
	if err != nil {
		return errno
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.NLMSGERR_ATTR_MSG {
			return &Error{Errno: errno, Reason: unix.ByteSliceToString(a.Value)}
		}
	}
	return errno
}
