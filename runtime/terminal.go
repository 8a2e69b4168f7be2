package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// terminal serves the pseudoterminal of a supervised program on the caller's
// terminal.
//
//	caller's terminal (raw) <-> us <-> master | slave <-> program
//
// The container's init makes the pair inside the sandbox's devpts and sends the
// master through a socketpair before the program runs.
type terminal struct {
	host        console.Console // nil if the caller has no terminal
	in          io.Reader
	out         io.Writer
	childSocket *os.File
	socket      *os.File
	master      *os.File
	console     console.Console // the master, for its size
}

func newTerminal(opts *ProcessOptions) (*terminal, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	return &terminal{
		host:        hostTerminal(opts.Stderr, opts.Stdout, opts.Stdin),
		in:          opts.Stdin,
		out:         opts.Stdout,
		socket:      os.NewFile(uintptr(fds[0]), "console"),
		childSocket: os.NewFile(uintptr(fds[1]), "console of init"),
	}, nil
}

// hostTerminal returns the caller's terminal: the first stream that is one.
// There may be none, as in CI: the program has its terminal nevertheless, with
// the size that its spec gives.
func hostTerminal(streams ...any) console.Console {
	for _, s := range streams {
		file, ok := s.(*os.File)
		if !ok {
			continue
		}
		if c, err := console.ConsoleFromFile(file); err == nil {
			return c
		}
	}
	return nil
}

// serve receives the master and connects it with the caller.
func (t *terminal) serve(s *streams) error {
	master, err := receiveFile(t.socket)
	if err != nil {
		return fmt.Errorf("receive the program's terminal: %w", err)
	}
	t.master = master
	t.console, err = console.ConsoleFromFile(master)
	if err != nil {
		return fmt.Errorf("open the program's terminal: %w", err)
	}
	// The caller's terminal turns line ends into CR LF; twice is too much.
	if err := console.ClearONLCR(t.console.Fd()); err != nil {
		return fmt.Errorf("set up the program's terminal: %w", err)
	}
	if t.host != nil {
		if err := t.host.SetRaw(); err != nil {
			return fmt.Errorf("set the terminal to raw mode: %w", err)
		}
		t.resize()
	}
	s.copyInput(keepOpen{master}, t.in)
	s.copyOutput(t.out, master)
	return nil
}

// keepOpen is for the input's side: its end must not close the terminal that
// output still comes from.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// resize gives the program's terminal the size of the caller's. Its errors
// mean that one of the two is gone, which ends the program by itself.
func (t *terminal) resize() {
	if t.host != nil && t.console != nil {
		t.console.ResizeFrom(t.host) //nolint:errcheck // see above
	}
}

// close restores the caller's terminal.
func (t *terminal) close() error {
	var errs []error
	if t.socket != nil {
		errs = append(errs, t.socket.Close())
		t.socket = nil
	}
	if t.master != nil {
		t.master.Close() // closed already where its output ended
		t.master = nil
	}
	if t.host != nil {
		errs = append(errs, t.host.Reset())
	}
	return errors.Join(errs...)
}

// receiveFile receives one descriptor by SCM_RIGHTS; see cmsg(3), unix(7).
func receiveFile(socket *os.File) (*os.File, error) {
	name := make([]byte, 4096)
	control := make([]byte, unix.CmsgSpace(4))
	n, controlLen, _, _, err := unix.Recvmsg(int(socket.Fd()), name, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages, want one with a descriptor", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("parse descriptors: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}
