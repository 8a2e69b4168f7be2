package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// requestTimeout is how long a client may take to send its line.
	requestTimeout = 10 * time.Second
	// farewellTimeout is how long Close waits for clients to read what is left for them.
	farewellTimeout = time.Second
	maxConnections  = 128
)

// Server serves the control socket. Its methods may be called at the same time.
type Server struct {
	handler Handler
	log     *slog.Logger
	history *history

	// ending is cancelled when Close begins.
	ending context.Context //nolint:containedctx // the server's own life, not a caller's
	end    context.CancelFunc
	serves sync.WaitGroup

	mu sync.Mutex
	// guarded by mu:
	listener *net.UnixListener
	closing  bool
	conns    map[*net.UnixConn]struct{}
}

// NewServer returns a server that serves nobody yet and keeps what is published.
func NewServer(handler Handler, log *slog.Logger) *Server {
	ending, end := context.WithCancel(context.Background())
	return &Server{handler: handler, log: log, history: newHistory(), ending: ending, end: end, conns: map[*net.UnixConn]struct{}{}}
}

// Publish tells an event to everybody who watches and keeps it for those who will.
// It never waits. A zero time is set to now.
func (s *Server) Publish(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	line, err := eventLine(e)
	if err != nil {
		s.log.Warn("event is not told", "kind", e.Kind, "error", err)
		return
	}
	s.history.add(line)
}

// Serve answers connections until Close, then returns nil. The listener is closed.
func (s *Server) Serve(listener *net.UnixListener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return listener.Close()
	}
	s.listener = listener
	s.serves.Add(1)
	s.mu.Unlock()
	defer s.serves.Done()
	for {
		conn, err := listener.AcceptUnix()
		if s.ending.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ECONNABORTED) {
			s.log.Warn("accept on the control socket", "error", err)
			s.pause()
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accept on the control socket: %w", err), listener.Close())
		}
		s.begin(conn)
	}
}

// pause lets some time pass in which descriptors may become free.
func (s *Server) pause() {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ending.Done():
	}
}

func (s *Server) begin(conn *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= maxConnections {
		conn.Close()
		return
	}
	s.conns[conn] = struct{}{}
	s.serves.Go(func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
		}()
		if err := s.serveConn(conn); err != nil {
			s.log.Debug("control connection", "error", err)
		}
	})
}

// Close ends the history, waits until all who watch have read it, for a second at
// most, and closes everything. Commands that were run by Exec are to be killed.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	listener := s.listener
	deadline := time.Now().Add(farewellTimeout)
	for conn := range s.conns {
		// A connection that is gone already has nobody to read.
		_ = conn.SetDeadline(deadline)
	}
	s.mu.Unlock()
	s.end()
	var err error
	if listener != nil {
		err = listener.Close()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	// Only now: who hears of the end may look whether anybody listens.
	s.history.end()
	s.serves.Wait()
	return err
}

// serveConn answers one request and closes the connection.
func (s *Server) serveConn(conn *net.UnixConn) (retErr error) {
	defer conn.Close()
	if err := checkPeer(conn); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	line, files, err := receiveRequest(conn)
	if err != nil {
		return err
	}
	request, err := ParseRequest(line)
	if err == nil && len(files) != request.files() {
		err = fmt.Errorf("request %w: %d descriptors instead of %d", ErrBroken, len(files), request.files())
	}
	if err != nil {
		closeAll(files)
		return errors.Join(err, send(conn, Reply{Error: err.Error()}))
	}
	// Close may have set its deadline before: then this one is not lifted.
	if s.ending.Err() == nil {
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			closeAll(files)
			return err
		}
	}
	ctx, cancel := context.WithCancel(s.ending)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		// The client has nothing more to say: whatever comes is its end.
		_, _ = conn.Read(make([]byte, 1))
	})
	defer watching.Wait()
	defer conn.Close() // ends the read above
	defer cancel()
	return s.answer(ctx, conn, request, files)
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn, r Request, files []*os.File) error {
	switch r.Op {
	case OpStatus:
		status := s.handler.Status()
		return send(conn, Reply{Status: &status})
	case OpStats:
		stats, err := s.handler.Stats(ctx)
		if err != nil {
			return send(conn, Reply{Error: err.Error()})
		}
		if stats == nil {
			stats = []InstanceStats{}
		}
		return send(conn, Reply{Stats: stats})
	case OpWatch:
		return s.follow(ctx, conn, 0)
	case OpStop:
		next := s.history.next()
		if err := s.handler.Stop(*r.Stop); err != nil {
			return send(conn, Reply{Error: err.Error()})
		}
		return s.follow(ctx, conn, next)
	case OpExec:
		return s.exec(ctx, conn, *r.Exec, files)
	}
	return fmt.Errorf("request %w: %q", ErrBroken, r.Op)
}

// follow sends the events from the given number on until there are no more, or the
// client has gone.
func (s *Server) follow(ctx context.Context, conn *net.UnixConn, number int) error {
	for {
		line, lost, ended, changed := s.history.from(number)
		if lost > 0 {
			number += lost
			notice, err := lostLine(lost)
			if err != nil {
				return err
			}
			if _, err := conn.Write(notice); err != nil {
				return err
			}
		}
		if line != nil {
			if _, err := conn.Write(line); err != nil {
				return err
			}
			number++
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			// The server's end comes after the history's: what is left is told.
			if s.ending.Err() == nil {
				return nil
			}
			<-changed
		}
	}
}

func (s *Server) exec(ctx context.Context, conn *net.UnixConn, r ExecRequest, files []*os.File) error {
	var sendErr error
	exit, err := s.handler.Exec(ctx, r, files, func(started ExecStarted) {
		sendErr = send(conn, Reply{Started: &started})
	})
	switch {
	case err != nil:
		return errors.Join(sendErr, send(conn, Reply{Error: err.Error()}))
	case r.Detach:
		return sendErr
	default:
		return errors.Join(sendErr, send(conn, Reply{Exit: &exit}))
	}
}

func send(conn *net.UnixConn, r Reply) error {
	line, err := encode(r)
	if errors.Is(err, ErrTooLong) {
		line, err = encode(Reply{Error: "the answer is a " + err.Error()})
	}
	if err != nil {
		return err
	}
	_, err = conn.Write(line)
	return err
}

// checkPeer lets in root and the user that the supervisor runs as.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return os.NewSyscallError("getsockopt", credErr)
	}
	return checkUser(cred.Uid, uint32(os.Geteuid()))
}

func checkUser(peer, own uint32) error {
	if peer != 0 && peer != own {
		return fmt.Errorf("refuse user %d on the control socket: it is user %d's", peer, own)
	}
	return nil
}
