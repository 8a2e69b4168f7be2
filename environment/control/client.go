package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client asks an environment's supervisor. Each question has a connection of its
// own; a Client holds none, needs no closing and is safe for concurrent use.
type Client struct {
	path string
}

// Dial returns a client for the control socket at path, or ErrNotRunning if nobody
// listens there.
func Dial(path string) (*Client, error) {
	conn, err := connect(path)
	if err != nil {
		return nil, err
	}
	return &Client{path: path}, conn.Close()
}

// NewClient returns a client without looking whether somebody listens.
func NewClient(path string) *Client { return &Client{path: path} }

// Status returns a snapshot.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	r, err := c.ask(ctx, Request{Op: OpStatus})
	if err == nil && r.Status == nil {
		err = fmt.Errorf("reply %w: no status", ErrBroken)
	}
	return r.Status, err
}

// Stats returns use beside limit for every instance.
func (c *Client) Stats(ctx context.Context) ([]InstanceStats, error) {
	r, err := c.ask(ctx, Request{Op: OpStats})
	if err == nil && r.Stats == nil {
		err = fmt.Errorf("reply %w: no stats", ErrBroken)
	}
	return r.Stats, err
}

// Watch calls see for each event of the past and then as they happen, until the
// environment ends (nil), ctx does, or see returns an error, which is returned.
func (c *Client) Watch(ctx context.Context, see func(Event) error) error {
	return c.events(ctx, Request{Op: OpWatch}, see)
}

// Stop stops the environment, calls see (which may be nil) for each event of that
// and returns when the supervisor has ended, or when ctx does: the stop goes on
// then. An environment that is not up is ErrNotRunning.
func (c *Client) Stop(ctx context.Context, r StopRequest, see func(Event) error) error {
	if see == nil {
		see = func(Event) error { return nil }
	}
	return c.events(ctx, Request{Op: OpStop, Stop: &r}, see)
}

// Streams are what a command that is run by Exec is connected with.
type Streams struct {
	// In, Out and Err are passed as they are, without Terminal. All are needed.
	In, Out, Err *os.File
	// Terminal is called once with the master of the command's terminal, where the
	// request wants one. The file is its to close; Exec returns after it.
	Terminal func(master *os.File)
	// Started may be nil.
	Started func(ExecStarted)
}

// Exec runs a command in an instance and returns its exit code, 128+n after signal
// n; with Detach it returns 0 as soon as the command runs. When ctx ends the command
// is killed.
func (c *Client) Exec(ctx context.Context, r ExecRequest, streams Streams) (code int, retErr error) {
	files := []*os.File{streams.In, streams.Out, streams.Err}
	if r.Terminal {
		pair, err := newTerminalPair()
		if err != nil {
			return 0, err
		}
		files = []*os.File{pair.theirs}
		var receiving sync.WaitGroup
		receiving.Go(func() { pair.receive(streams.Terminal) })
		defer func() {
			pair.finish(retErr == nil)
			receiving.Wait()
		}()
	}
	code = -1
	err := c.converse(ctx, Request{Op: OpExec, Exec: &r}, files, func(reply Reply) error {
		switch {
		case reply.Started != nil:
			if streams.Started != nil {
				streams.Started(*reply.Started)
			}
			if r.Detach {
				code = 0
				return io.EOF
			}
			return nil
		case reply.Exit != nil:
			code = reply.Exit.Code
			return io.EOF
		}
		return fmt.Errorf("reply %w: not one to exec", ErrBroken)
	})
	if err == nil && code < 0 {
		err = fmt.Errorf("wait for the command: %w", ErrNotRunning)
	}
	if err != nil {
		return 0, err
	}
	return code, nil
}

// terminalPair is the socketpair through which the master of a terminal comes.
type terminalPair struct {
	ours   *net.UnixConn
	theirs *os.File
}

func newTerminalPair() (*terminalPair, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "console")
	ours := os.NewFile(uintptr(fds[0]), "console")
	defer ours.Close() // the connection has a duplicate
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("make socketpair for the terminal: %w", err)
	}
	return &terminalPair{ours: conn.(*net.UnixConn), theirs: theirs}, nil
}

// finish ends receive. After a command that ran, the master may be on its way still.
func (p *terminalPair) finish(ran bool) {
	p.theirs.Close()
	if !ran || p.ours.SetReadDeadline(time.Now().Add(farewellTimeout)) != nil {
		p.ours.Close()
	}
}

// receive waits for the master until the pair is finished.
func (p *terminalPair) receive(use func(*os.File)) {
	defer p.ours.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := p.ours.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		return
	}
	files, err := parseRights(oob[:oobn])
	if err != nil || len(files) != 1 || use == nil {
		closeAll(files)
		return
	}
	use(files[0])
}

// ask returns the only reply to a request.
func (c *Client) ask(ctx context.Context, request Request) (Reply, error) {
	var answer *Reply
	err := c.converse(ctx, request, nil, func(r Reply) error {
		answer = &r
		return io.EOF
	})
	if err == nil && answer == nil {
		err = ErrNotRunning // it ended before it answered
	}
	if err != nil {
		return Reply{}, err
	}
	return *answer, nil
}

func (c *Client) events(ctx context.Context, request Request, see func(Event) error) error {
	return c.converse(ctx, request, nil, func(r Reply) error {
		if r.Event == nil {
			return fmt.Errorf("reply %w: no event", ErrBroken)
		}
		return see(*r.Event)
	})
}

// converse sends a request and calls take for each reply until take returns an
// error (io.EOF is none) or the connection ends. An error that the supervisor
// replied is returned as it is.
func (c *Client) converse(ctx context.Context, request Request, files []*os.File, take func(Reply) error) error {
	line, err := encode(request)
	if err != nil {
		return err
	}
	conn, err := connect(c.path)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := sendRequest(conn, line, files); err != nil {
		return connectionError(ctx, "send request", err)
	}
	lines := lineReader{in: conn}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return connectionError(ctx, "read reply", err)
		}
		reply, err := ParseReply(line)
		if err == nil && reply.Error != "" {
			err = errors.New(reply.Error)
		}
		if err == nil {
			err = take(reply)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// connectionError tells the end of ctx and of the supervisor from other failures.
func connectionError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrNotRunning
	}
	return fmt.Errorf("%s: %w", what, err)
}
