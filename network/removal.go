package network

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/internal/rtnetlink"
)

// Removal is an interface that is gone from a Stack's network namespace, and that the Stack did not remove.
type Removal struct {
	// Bridge is the name of a bridge.
	Bridge string
	// Namespace and Interface are where Attach put the other end of a pair, which is gone too. Of an interface that is not the
	// Stack's, such as the way out, there is no Namespace, and Interface is its name.
	Namespace *Namespace
	Interface string
}

// Watch calls removed for each Removal from now on, one at a time, until stop, which waits for the last call. Between them
// it costs nothing: the kernel tells. It has to be called in the namespace that Open was called in.
func (s *Stack) Watch(removed func(Removal)) (stop func() error, _ error) {
	subscription, err := rtnetlink.Subscribe(unix.RTNLGRP_LINK, unix.RTM_DELLINK)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			message, err := subscription.Next()
			if err != nil {
				ended <- err
				return
			}
			if r, is := s.removal(message); is {
				removed(r)
			}
		}
	}()
	return func() error {
		err := subscription.Close()
		if endErr := <-ended; !errors.Is(endErr, os.ErrClosed) {
			err = errors.Join(err, endErr)
		}
		return err
	}, nil
}

// removal reads an RTM_DELLINK: struct ifinfomsg and attributes. That a port has left its bridge comes as one too, with
// another family.
func (s *Stack) removal(message []byte) (Removal, bool) {
	if len(message) < unix.SizeofIfInfomsg || message[0] != unix.AF_UNSPEC {
		return Removal{}, false
	}
	index := int32(binary.NativeEndian.Uint32(message[4:]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, known := s.links[index]; known {
		delete(s.links, index)
		return r, true
	}
	if index >= firstIndex && index < s.next {
		return Removal{}, false // we removed it ourselves
	}
	name := nameAttribute(message[unix.SizeofIfInfomsg:])
	return Removal{Interface: name}, name != ""
}

// nameAttribute finds IFLA_IFNAME, empty without.
func nameAttribute(attributes []byte) string {
	for len(attributes) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(attributes))
		if length < unix.SizeofRtAttr || length > len(attributes) {
			return ""
		}
		if binary.NativeEndian.Uint16(attributes[2:]) == unix.IFLA_IFNAME {
			return strings.TrimRight(string(attributes[unix.SizeofRtAttr:length]), "\x00")
		}
		aligned := (length + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		attributes = attributes[min(aligned, len(attributes)):]
	}
	return ""
}
