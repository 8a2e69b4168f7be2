package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
