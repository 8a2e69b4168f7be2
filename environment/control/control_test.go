package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHandler answers as told.
type fakeHandler struct {
	status Status
	stats  func(ctx context.Context) ([]InstanceStats, error)
	stop   func(StopRequest) error
	exec   func(ctx context.Context, r ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error)
}

func (f *fakeHandler) Status() Status { return f.status }
func (f *fakeHandler) Stats(ctx context.Context) ([]InstanceStats, error) {
	return f.stats(ctx)
}
func (f *fakeHandler) Stop(r StopRequest) error { return f.stop(r) }
func (f *fakeHandler) Exec(ctx context.Context, r ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
	return f.exec(ctx, r, files, started)
}

// serve runs a server until the test ends.
func serve(t *testing.T, h Handler) (*Server, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

func TestStatusAndStats(t *testing.T) {
	h := &fakeHandler{status: Status{Name: "shop", Phase: Running, Instances: []InstanceStatus{{Service: "web", State: Up}}}}
	// A channel, since each question has a connection and a goroutine of its
	// own: only the socket orders them.
	answers := make(chan []InstanceStats, 2)
	answers <- nil
	answers <- []InstanceStats{{Service: "web"}}
	h.stats = func(context.Context) ([]InstanceStats, error) {
		select {
		case answer := <-answers:
			return answer, nil
		default:
			return nil, errors.New("no figures today")
		}
	}
	_, client := serve(t, h)
	status, err := client.Status(t.Context())
	if err != nil || !reflect.DeepEqual(*status, h.status) {
		t.Errorf("Status() = %+v, %v", status, err)
	}
	if stats, err := client.Stats(t.Context()); err != nil || stats == nil || len(stats) != 0 {
		t.Errorf("Stats() of no instances = %v, %v", stats, err)
	}
	if stats, err := client.Stats(t.Context()); err != nil || len(stats) != 1 || stats[0].Service != "web" {
		t.Errorf("Stats() = %v, %v", stats, err)
	}
	if _, err := client.Stats(t.Context()); err == nil || err.Error() != "no figures today" {
		t.Errorf("Stats() = %v", err)
	}
	_, client = serve(t, &fakeHandler{status: Status{Name: strings.Repeat("x", MaxLine)}})
	if _, err := client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "line of more than 1 MiB") {
		t.Errorf("a status that is too long: %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := Dial(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	// A server that ends without an answer: the question is in its queue.
	asked := make(chan error, 1)
	go func() {
		_, err := NewClient(path).Status(t.Context())
		asked <- err
	}()
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	mustClose(t, listener)
	if err := <-asked; !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dying server: %v", err)
	}
	if _, err := Dial(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead server: %v", err)
	}
	// Its socket's file is in nobody's way.
	listener, err = Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, listener)
}

func mustClose(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 200))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control.sock")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, listener)
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	inherited, err := Inherit(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	if _, err := Dial(path); err != nil {
		t.Error(err)
	}
}

// TestWatch wants every event in order, those of before too, by several watchers of
// different pace, and an end.
func TestWatch(t *testing.T) {
	s, client := serve(t, &fakeHandler{})
	const events = 500
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			s.Publish(Event{Kind: EventHook, Detail: fmt.Sprint(i)})
		}
	}
	publish(0, events/2)
	var watching, begun sync.WaitGroup
	for range 5 {
		begun.Add(1)
		watching.Go(func() {
			n := 0
			err := client.Watch(t.Context(), func(e Event) error {
				if n == 0 {
					begun.Done()
				}
				if e.Detail != fmt.Sprint(n) || e.At.IsZero() {
					return fmt.Errorf("event %d is %+v", n, e)
				}
				n++
				return nil
			})
			if err != nil || n != events {
				t.Errorf("saw %d events, %v", n, err)
			}
		})
	}
	begun.Wait()
	publish(events/2, events)
	// Close lets them read what is there.
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	watching.Wait()
}

func TestWatchEnds(t *testing.T) {
	s, client := serve(t, &fakeHandler{})
	s.Publish(Event{Kind: EventReady})
	enough := errors.New("enough")
	if err := client.Watch(t.Context(), func(Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Watch() = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := client.Watch(ctx, func(Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch() = %v", err)
	}
}

func TestEventWithHugeReport(t *testing.T) {
	line, err := eventLine(Event{Kind: EventExited, Detail: "d", Report: []byte(`"` + strings.Repeat("r", MaxLine) + `"`)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseReply(line)
	if err != nil || r.Event.Detail != "d" || r.Event.Report != nil {
		t.Errorf("%+v, %v", r.Event, err)
	}
}

func TestStop(t *testing.T) {
	requests := make(chan StopRequest, 1)
	s, client := serve(t, &fakeHandler{stop: func(r StopRequest) error { requests <- r; return nil }})
	s.Publish(Event{Kind: EventReady})
	grace := 3 * time.Second
	var stopping sync.WaitGroup
	defer stopping.Wait()
	stopping.Go(func() {
		r := <-requests
		if r.Grace == nil || *r.Grace != grace || r.Reason != "down" {
			t.Errorf("request %+v", r)
		}
		s.Publish(Event{Kind: EventPhase, Phase: Stopped})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var seen []Event
	err := client.Stop(t.Context(), StopRequest{Grace: &grace, Reason: "down"}, func(e Event) error { seen = append(seen, e); return nil })
	if err != nil || len(seen) != 1 || seen[0].Phase != Stopped {
		t.Errorf("saw %v, %v", seen, err)
	}
	// Whoever was told of the end finds nobody: a removal comes at once after a stop.
	if _, err := Dial(client.path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}
