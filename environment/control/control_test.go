package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	answers := [][]InstanceStats{{{Service: "web"}}, nil} // the last one first
	h.stats = func(context.Context) ([]InstanceStats, error) {
		if len(answers) == 0 {
			return nil, errors.New("no figures today")
		}
		answer := answers[len(answers)-1]
		answers = answers[:len(answers)-1]
		return answer, nil
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

// TestSlowWatcher reads nothing: nobody waits for it, and what is kept is bounded.
func TestSlowWatcher(t *testing.T) {
	s, client := serve(t, &fakeHandler{})
	line, err := encode(Request{Op: OpWatch})
	if err != nil {
		t.Fatal(err)
	}
	slow, err := connect(client.path)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write(line); err != nil {
		t.Fatal(err)
	}
	report := []byte(`"` + strings.Repeat("r", 4000) + `"`)
	for i := range 5000 {
		s.Publish(Event{Kind: EventExited, Detail: fmt.Sprint(i), Report: report})
	}
	s.history.mu.Lock()
	if s.history.bytes > maxEventBytes || s.history.first == 0 {
		t.Errorf("%d bytes are kept from event %d on", s.history.bytes, s.history.first)
	}
	s.history.mu.Unlock()
	var first Event
	err = client.Watch(t.Context(), func(e Event) error { first = e; return io.EOF })
	if err != nil || first.Kind != EventLost || !strings.HasSuffix(first.Detail, " events") {
		t.Errorf("a late watcher saw %+v, %v", first, err)
	}
	started := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took > 5*farewellTimeout {
		t.Errorf("Close() waited %s for it", took)
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

func TestExec(t *testing.T) {
	h := &fakeHandler{exec: func(_ context.Context, r ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 7})
		input, err := io.ReadAll(files[0])
		if err != nil {
			return ExecExit{}, err
		}
		fmt.Fprintf(files[1], "%s %s %s", r.Service, r.Command, input)
		fmt.Fprint(files[2], "error")
		return ExecExit{Code: 137}, nil
	}}
	_, client := serve(t, h)
	in, out, errs := tempFile(t, "input"), tempFile(t, ""), tempFile(t, "")
	pid := 0
	code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a", "b"}},
		Streams{In: in, Out: out, Err: errs, Started: func(s ExecStarted) { pid = s.Pid }})
	if err != nil || code != 137 || pid != 7 {
		t.Errorf("Exec() = %d, %v, pid %d", code, err, pid)
	}
	if got := content(t, out) + "|" + content(t, errs); got != "web [a b] input|error" {
		t.Errorf("output %q", got)
	}
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}}, Streams{In: in, Out: out}); err == nil {
		t.Error("a missing stream was taken")
	}
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, _ func(ExecStarted)) (ExecExit, error) {
		closeAll(files)
		return ExecExit{}, errors.New("no such service")
	}})
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "x", Command: []string{"a"}}, Streams{In: in, Out: out, Err: errs}); err == nil || err.Error() != "no such service" {
		t.Errorf("Exec() = %v", err)
	}
}

// TestExecEndsWithItsClient cancels: the handler is told to kill the command.
func TestExecEndsWithItsClient(t *testing.T) {
	killed := make(chan struct{})
	h := &fakeHandler{exec: func(ctx context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 1})
		<-ctx.Done()
		close(killed)
		return ExecExit{Code: 137}, nil
	}}
	_, client := serve(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	file := tempFile(t, "")
	_, err := client.Exec(ctx, ExecRequest{Service: "web", Command: []string{"a"}}, Streams{In: file, Out: file, Err: file, Started: func(ExecStarted) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Exec() = %v", err)
	}
	<-killed
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 1})
		return ExecExit{}, nil
	}})
	code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Detach: true}, Streams{In: file, Out: file, Err: file})
	if err != nil || code != 0 {
		t.Errorf("detached: %d, %v", code, err)
	}
}

// TestExecTerminal sends a file where a terminal's master would be. However soon the
// command ends, its output is read.
func TestExecTerminal(t *testing.T) {
	h := &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		master := tempFile(t, "output")
		fd, err := descriptor(files[0])
		if err != nil {
			return ExecExit{}, err
		}
		if err := unix.Sendmsg(fd, []byte("/dev/ptmx"), unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
			return ExecExit{}, err
		}
		started(ExecStarted{Pid: 1})
		return ExecExit{Code: 3}, nil
	}}
	_, client := serve(t, h)
	for range 50 {
		got := ""
		code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Terminal: true}, Streams{Terminal: func(master *os.File) {
			defer master.Close()
			got = content(t, master)
		}})
		if err != nil || code != 3 || got != "output" {
			t.Fatalf("Exec() = %d, %v, output %q", code, err, got)
		}
	}
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, _ func(ExecStarted)) (ExecExit, error) {
		closeAll(files)
		return ExecExit{}, errors.New("no terminal")
	}})
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Terminal: true}, Streams{}); err == nil || err.Error() != "no terminal" {
		t.Errorf("Exec() = %v", err)
	}
}

func tempFile(t *testing.T, text string) *os.File {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return file
}

func content(t *testing.T, file *os.File) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// TestBadRequests are answered, or dropped, and leave no descriptor open.
func TestBadRequests(t *testing.T) {
	_, client := serve(t, &fakeHandler{})
	file := tempFile(t, "")
	exec := `{"op":"exec","exec":{"service":"web","command":["a"]}}` + "\n"
	tests := map[string]struct {
		text  string
		files int
		says  string
	}{
		"no operation":          {"{}\n", 0, `no operation`},
		"no JSON":               {"hello\n", 0, "not understood"},
		"another's member":      {`{"op":"status","stop":{"reason":"x"}}` + "\n", 0, "the members do not belong"},
		"stop without a member": {`{"op":"stop"}` + "\n", 0, "the members do not belong"},
		"negative grace":        {`{"op":"stop","stop":{"reason":"x","grace":-1}}` + "\n", 0, "negative grace"},
		"exec of nothing":       {`{"op":"exec","exec":{"service":"web"}}` + "\n", 3, "a service and a command"},
		"exec without streams":  {exec, 0, "0 descriptors instead of 3"},
		"exec with two streams": {exec, 2, "2 descriptors instead of 3"},
		"status with streams":   {`{"op":"status"}` + "\n", 3, "3 descriptors instead of 0"},
		"too many streams":      {exec, 4, ""},
		"more than a line":      {`{"op":"status"}` + "\n{", 0, ""},
		"too long":              {strings.Repeat("x", MaxLine+2), 0, ""},
	}
	before := openDescriptors(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := connect(client.path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			// The server may close before it has read it all.
			_ = sendRequest(conn, []byte(test.text), slices.Repeat([]*os.File{file}, test.files))
			answer, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Fatal(err)
			}
			if test.says == "" && len(answer) > 0 || !strings.Contains(string(answer), test.says) {
				t.Errorf("answer %q, want %q", answer, test.says)
			}
		})
	}
	if after := openDescriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestManyClients asks more at once than are served: the others are turned away, and
// the server goes on.
func TestManyClients(t *testing.T) {
	_, client := serve(t, &fakeHandler{})
	var idle []*net.UnixConn
	for range maxConnections + 10 {
		conn, err := connect(client.path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("one too many: %v", err)
	}
	for _, conn := range idle {
		conn.Close()
	}
	for {
		_, err := client.Status(t.Context())
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckUser(t *testing.T) {
	for _, test := range []struct {
		peer, own uint32
		allowed   bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		if err := checkUser(test.peer, test.own); (err == nil) != test.allowed {
			t.Errorf("user %d on a socket of %d: %v", test.peer, test.own, err)
		}
	}
}

func TestReplyFromNowhere(t *testing.T) {
	tests := map[string]string{
		"two members": `{"error":"x","exit":{"code":1}}` + "\n",
		"none":        "{}\n",
		"not asked":   `{"exit":{"code":1}}` + "\n",
		"half a line": `{"exit"`,
		"too long":    strings.Repeat("x", MaxLine+2),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "control.sock")
			listener, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				conn, err := listener.AcceptUnix()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 100)); err != nil {
					t.Error(err)
				}
				_, _ = conn.Write([]byte(text)) // the client may have had enough
			}()
			if status, err := NewClient(path).Status(t.Context()); err == nil {
				t.Errorf("Status() = %+v", status)
			}
			<-answered
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{`{"op":"status"}`, `{"op":"stop","stop":{"reason":"x","grace":5}}`, `{"op":"exec","exec":{"service":"a","command":["b"],"terminal":true}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("error %v", err)
			}
			return
		}
		if r.files() > maxFiles {
			t.Errorf("%d files", r.files())
		}
		requireRoundTrip(t, r, ParseRequest)
	})
}

func FuzzParseReply(f *testing.F) {
	for _, seed := range []string{`{"error":"x"}`, `{"stats":[]}`, `{"event":{"kind":"ready","report":{"a":1}}}`, `{"exit":{"code":3}}`, `{"status":{"name":"x"}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseReply(line)
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("error %v", err)
			}
			return
		}
		requireRoundTrip(t, r, ParseReply)
	})
}

// requireRoundTrip encodes what was parsed, twice: what was taken can be told.
func requireRoundTrip[T any](t *testing.T, value T, parse func([]byte) (T, error)) {
	t.Helper()
	line, err := encode(value)
	if err != nil {
		t.Skip(err) // longer than it was, by escapes
	}
	again, err := parse(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if second, err := encode(again); err != nil || !bytes.Equal(line, second) {
		t.Errorf("%s became %s, %v", line, second, err)
	}
}

// FuzzLines cuts a stream that comes in pieces of any size.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 1)
	f.Add([]byte(strings.Repeat("x", 10000)+"\n"), 4096)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		lines := lineReader{in: &pieces{rest: stream, size: 1 + max(0, size)%5000}}
		var got []byte
		for {
			line, err := lines.next()
			if err != nil {
				complete := bytes.LastIndexByte(stream, '\n') + 1
				if want := io.EOF; complete == len(stream) && !errors.Is(err, want) || !bytes.Equal(got, stream[:complete]) {
					t.Errorf("got %q, %v of %q", got, err, stream)
				}
				return
			}
			got = append(append(got, line...), '\n')
		}
	})
}

type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
