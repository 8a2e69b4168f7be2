package rtnetlink

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// open opens a socket in a network namespace of the test's own.
func open(t *testing.T) *Socket {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	s, err := Open(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func link(index int32, name, kind, what string) Request {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = index
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	return Request{
		Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, What: what,
		Parts: []nl.NetlinkRequestData{message, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)), info},
	}
}

// names gives the interfaces of the socket's namespace with our indexes.
func names(t *testing.T, s *Socket) string {
	t.Helper()
	var found []string
	err := s.Dump(Request{Type: unix.RTM_GETLINK, Parts: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}}, func(p []byte) error {
		attributes, err := nl.ParseRouteAttr(p[unix.SizeofIfInfomsg:])
		for _, a := range attributes {
			if a.Attr.Type == unix.IFLA_IFNAME && binary.NativeEndian.Uint32(p[4:]) >= 100 {
				found = append(found, unix.ByteSliceToString(a.Value))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func TestTheFirstFailureIsTold(t *testing.T) {
	s := open(t)
	err := s.Do(
		link(100, "a", "bridge", "make a"), link(101, "a", "bridge", "make a again"), link(102, "b", "nonsense", "make b"),
		link(103, "c", "bridge", "make c"),
	)
	if !errors.Is(err, unix.EEXIST) || !strings.HasPrefix(err.Error(), "make a again: ") {
		t.Errorf("got %v, want the second's", err)
	}
	if got := names(t, s); got != "a c" {
		t.Errorf("got %q, want all but what failed", got)
	}
	// What the failures left in the socket does not meet the next request.
	if err := s.Do(link(104, "d", "bridge", "make d")); err != nil {
		t.Error(err)
	}
	err = s.Do(link(105, "e", "nonsense", "make e"))
	var explained *Error
	if !errors.Is(err, unix.EOPNOTSUPP) || !errors.As(err, &explained) || !strings.Contains(err.Error(), explained.Reason) {
		t.Errorf("got %v, want the kernel's reason", err)
	}
	if err := s.Do(); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}

func TestADumpThatIsLeftLeavesNothing(t *testing.T) {
	s := open(t)
	stop := errors.New("enough")
	request := Request{Type: unix.RTM_GETLINK, Parts: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, What: "list"}
	if err := s.Dump(request, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
	if err := s.Do(link(100, "a", "bridge", "make a")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Do(link(101, "b", "bridge", "make b")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(link(100, "a", "bridge", ""), unix.NLM_F_ACK, 7))
	f.Add([]byte{36, 0, 0, 0, 2, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 1, 0})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		messages, err := parse(datagram)
		if err != nil {
			return
		}
		total := 0
		for _, m := range messages {
			total += unix.SizeofNlMsghdr + len(m.payload)
			_ = acknowledgement(m)
		}
		if total > len(datagram) {
			t.Errorf("%d bytes were read of %d", total, len(datagram))
		}
	})
}
