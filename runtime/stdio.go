package runtime

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
)

// streams connects a program's input and output with the caller's.
type streams struct {
	// childEnds are ours only until the program has inherited them.
	childEnds []io.Closer
	// ourEnds are closed when the output has ended. All are there before the program
	// runs; closing twice does no harm.
	ourEnds []io.Closer
	// output counts the copying goroutines; they end with the program's last
	// descriptor for the stream.
	output   sync.WaitGroup
	terminal *terminal // nil without one that we serve
}

// attach prepares the streams for process. It starts nothing that would have
// to be waited for before the program runs.
func (c *Container) attach(process *libcontainer.Process, tty bool, opts *ProcessOptions, owner ownership) (*streams, error) {
	s := &streams{}
	err := c.attachTo(s, process, tty, opts, owner)
	if err == nil && opts.PidfdSocket != "" {
		process.PidfdSocket, err = s.dial(opts.PidfdSocket)
	}
	if err != nil {
		return nil, errors.Join(err, s.abort())
	}
	return s, nil
}

func (c *Container) attachTo(s *streams, process *libcontainer.Process, tty bool, opts *ProcessOptions, owner ownership) (err error) {
	switch {
	case opts.Console != nil && (!tty || owner == supervised):
		return errors.New("cannot send the terminal away: the process is not detached, or has no terminal")
	case tty && opts.Console != nil:
		process.ConsoleSocket = opts.Console
		return nil
	case opts.ConsoleSocket != "" && (!tty || owner == supervised):
		return errors.New("cannot use a console socket: the process is not detached, or has no terminal (process.terminal, --tty); leave the socket out")
	case tty && owner == detached && opts.ConsoleSocket == "":
		return errors.New("cannot give a detached process a terminal: nobody would serve it; name a --console-socket")
	case tty && owner == detached:
		process.ConsoleSocket, err = s.dial(opts.ConsoleSocket)
		return err
	case tty:
		s.terminal, err = newTerminal(opts)
		if err != nil {
			return err
		}
		process.ConsoleSocket = s.terminal.childSocket
		s.childEnds = append(s.childEnds, s.terminal.childSocket)
		return nil
	case owner == detached:
		// As with runc: the program gets the caller's own descriptors.
		process.Stdin, process.Stdout, process.Stderr = opts.Stdin, opts.Stdout, opts.Stderr
		return nil
	default:
		return c.attachPipes(s, process, opts)
	}
}

// attachPipes puts a pipe between the program and each stream of the caller,
// because a descriptor handed over could be reopened with more rights by way
// of /proc/self/fd, or be a terminal to push input into.
func (c *Container) attachPipes(s *streams, process *libcontainer.Process, opts *ProcessOptions) error {
	config := c.lc.Config()
	uid, err := config.HostRootUID()
	if err != nil {
		return err
	}
	gid, err := config.HostRootGID()
	if err != nil {
		return err
	}
	var ours [3]*os.File
	if ours, err = s.pipes(process, uid, gid); err != nil {
		return fmt.Errorf("make pipes: %w", err)
	}
	s.copyInput(ours[0], opts.Stdin)
	s.copyOutput(opts.Stdout, ours[1])
	s.copyOutput(opts.Stderr, ours[2])
	return nil
}

// pipes makes the program's streams, owned by its root, and returns our ends of
// them. libcontainer's own (Process.InitializeIO) are not used since they block:
// each would keep a thread for as long as the program lives.
func (s *streams) pipes(process *libcontainer.Process, uid, gid int) (ours [3]*os.File, err error) {
	var theirs [3]*os.File
	for i := range ours {
		reader, writer, err := os.Pipe()
		if err != nil {
			return ours, err
		}
		ours[i], theirs[i] = reader, writer
		if i == 0 {
			ours[i], theirs[i] = writer, reader
		}
		s.ourEnds, s.childEnds = append(s.ourEnds, ours[i]), append(s.childEnds, theirs[i])
		// One of both ends is enough: the inode is the pipe's.
		if err := theirs[i].Chown(uid, gid); err != nil {
			return ours, err
		}
	}
	process.Stdin, process.Stdout, process.Stderr = theirs[0], theirs[1], theirs[2]
	return ours, nil
}

// copyInput is not waited for: a read from the caller's input cannot be
// called back, and goes on until there is input to find nobody for.
func (s *streams) copyInput(to io.WriteCloser, from io.Reader) {
	if from == nil {
		to.Close()
		return
	}
	go func() {
		io.Copy(to, from) //nolint:errcheck // the program closed its input, or the caller's ended
		to.Close()
	}()
}

func (s *streams) copyOutput(to io.Writer, from io.ReadCloser) {
	if to == nil {
		to = io.Discard
	}
	s.output.Go(func() {
		io.Copy(to, from) //nolint:errcheck // the caller's end is gone: the program gets SIGPIPE from the close
		from.Close()
	})
}

// dial connects to a unix socket and returns it as a descriptor for the
// container's init.
func (s *streams) dial(path string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot reach socket %q: %w", path, errors.Unwrap(err))
	}
	file, err := conn.File() // a duplicate
	if err := errors.Join(err, conn.Close()); err != nil {
		return nil, fmt.Errorf("take descriptor of socket %q: %w", path, err)
	}
	s.childEnds = append(s.childEnds, file)
	return file, nil
}

// started gives up the ends that the program has inherited, and takes over its
// terminal.
func (s *streams) started() error {
	if s.terminal != nil {
		if err := s.terminal.serve(s); err != nil {
			return err
		}
	}
	return closeAll(&s.childEnds)
}

// drain waits until all output has been passed on, then restores the caller's
// terminal.
func (s *streams) drain() error {
	s.output.Wait()
	return s.close()
}

// abort is drain for a program that never ran, and is dead by now: the caller
// gets its writers back.
func (s *streams) abort() error {
	err := closeAll(&s.childEnds)
	return errors.Join(err, s.drain())
}

// cut ends the output that is still to come: what has inherited the program's
// streams would keep drain waiting.
func (s *streams) cut() {
	for _, c := range s.ourEnds {
		c.Close()
	}
}

func (s *streams) close() error {
	s.cut() // most were closed by their copying goroutine
	if s.terminal == nil {
		return nil
	}
	return s.terminal.close()
}

func closeAll(closers *[]io.Closer) error {
	var errs []error
	for _, c := range *closers {
		errs = append(errs, c.Close())
	}
	*closers = nil
	return errors.Join(errs...)
}
