package rtnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// notificationBuffer has room for what is looked at of a notification; the rest of a longer one is cut off.
const notificationBuffer = 4 << 10

// Subscription is a socket by which the kernel tells of changes. It costs nothing while there are none, neither a thread nor
// memory to speak of. One goroutine reads it; Close may be called by another.
type Subscription struct {
	file   *os.File
	buffer []byte
}

// Subscribe opens a socket of NETLINK_ROUTE, in the network namespace of the calling thread, that gets messages of one type
// (RTM_DELLINK, …) of one group (RTNLGRP_LINK, …). The kernel keeps others from it, so that nobody wakes up for them.
func Subscribe(group uint, kind uint16) (*Subscription, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "netlink subscription")
	// The filter first: nothing else ever gets in.
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, ofType(kind)); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), file.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group - 1)}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), file.Close())
	}
	return &Subscription{file: file, buffer: make([]byte, notificationBuffer)}, nil
}

// ofType is a filter that lets messages of one type pass. A filter reads numbers in network order, the header has the
// machine's.
func ofType(kind uint16) *unix.SockFprog {
	var header [2]byte
	binary.NativeEndian.PutUint16(header[:], kind)
	const offsetOfType, everything = 4, 1 << 18
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: offsetOfType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(binary.BigEndian.Uint16(header[:]))},
		{Code: unix.BPF_RET | unix.BPF_K, K: everything},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
}

// Next waits for a message and gives its payload, to be used until the next call. It returns os.ErrClosed after Close. Where
// so many came at once that the kernel had no room, those that came first are given.
func (s *Subscription) Next() ([]byte, error) {
	for {
		n, err := s.file.Read(s.buffer)
		switch {
		case errors.Is(err, unix.ENOBUFS):
		case err != nil:
			return nil, fmt.Errorf("read netlink subscription: %w", err)
		case n > unix.SizeofNlMsghdr:
			return s.buffer[unix.SizeofNlMsghdr:n], nil
		}
	}
}

// Close ends Next.
func (s *Subscription) Close() error { return s.file.Close() }
