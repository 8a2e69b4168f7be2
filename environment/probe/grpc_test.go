package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// healthServer speaks HTTP/2 by net/http, and gRPC's health check by hand. Each
// request gets the next answer, the last one again and again.
type healthServer struct {
	answers     []healthAnswer
	asked       atomic.Int64
	connections atomic.Int64
	services    chan string
}

type healthAnswer struct {
	status     int
	grpcStatus string // in the headers if there is no message, else in the trailers
	message    []byte
}

func (h *healthServer) start(t *testing.T) uint16 {
	t.Helper()
	h.services = make(chan string, 10_000)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, Protocols: &protocols, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			h.connections.Add(1)
		}
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return portOf(t, listener.Addr())
}

func (h *healthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/grpc.health.v1.Health/Check" ||
		r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
		http.Error(w, "no health check", http.StatusBadRequest)
		return
	}
	h.services <- string(body)
	answer := h.answers[min(int(h.asked.Add(1))-1, len(h.answers)-1)]
	w.Header().Set("Content-Type", "application/grpc")
	if answer.message == nil {
		w.Header().Set("Grpc-Status", answer.grpcStatus)
		w.Header().Set("Grpc-Message", "the reason")
		w.WriteHeader(answer.status)
		return
	}
	w.Header().Set("Trailer", "Grpc-Status")
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.message)
	w.Header().Set("Grpc-Status", answer.grpcStatus)
}

func healthMessage(status byte) []byte { return []byte{0, 0, 0, 0, 2, 1 << 3, status} }

func TestGRPCProbeAsksUntilItIsServing(t *testing.T) {
	server := &healthServer{answers: []healthAnswer{
		{200, "0", healthMessage(2)},
		{200, "14", nil},
		{200, "0", []byte{0, 0, 0, 0, 0}}, // UNKNOWN is 0, which protobuf leaves out
		{200, "0", healthMessage(1)},
	}}
	port := server.start(t)
	target := Target{Address: netip.MustParseAddr("127.0.0.1"), Dial: direct}
	if err := Wait(t.Context(), target, plan.Probe{Kind: plan.ProbeGRPC, Port: port, GRPCService: "shop.Orders"}); err != nil {
		t.Fatal(err)
	}
	if asked, connections := server.asked.Load(), server.connections.Load(); asked != 4 || connections != 1 {
		t.Errorf("%d questions over %d connections, want 4 over 1", asked, connections)
	}
	if got, want := <-server.services, "\x00\x00\x00\x00\x0d\x0a\x0bshop.Orders"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestGRPCProbeTellsWhatItSaw(t *testing.T) {
	tests := []struct {
		name   string
		answer healthAnswer
		want   string
	}{
		{"not serving", healthAnswer{200, "0", healthMessage(2)}, "NOT_SERVING from grpc://ADDRESS"},
		{"a service that is not known", healthAnswer{200, "5", nil}, "gRPC status 5 from grpc://ADDRESS: the reason"},
		{"not gRPC", healthAnswer{404, "", nil}, "HTTP status 404 from grpc://ADDRESS"},
		{"a status of the future", healthAnswer{200, "0", healthMessage(9)}, "serving status 9 from grpc://ADDRESS"},
		{"nonsense", healthAnswer{200, "0", []byte{0, 0, 0, 0, 9, 1}}, "no answer from grpc://ADDRESS: the gRPC answer is no health.v1 message"},
		{"too much", healthAnswer{200, "0", make([]byte, maxData+1)}, "no answer from grpc://ADDRESS: the answer is too long for a health check"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := &healthServer{answers: []healthAnswer{tt.answer}}
			port := server.start(t)
			target := Target{DialInside: direct}
			err := Wait(t.Context(), target, plan.Probe{Kind: plan.ProbeGRPC, Port: port, Timeout: 300 * time.Millisecond})
			want := strings.Replace(tt.want, "ADDRESS", fmt.Sprintf("127.0.0.1:%d", port), 1)
			if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), want+" for ") {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// TestOneConnectionIsGoodForManyQuestions asks more often than the window of a
// connection has room for, if it were not renewed.
func TestOneConnectionIsGoodForManyQuestions(t *testing.T) {
	padded := append(healthMessage(1), bytes.Repeat([]byte{2 << 3, 0}, 2000)...)
	padded[3], padded[4] = byte((len(padded)-5)>>8), byte(len(padded)-5)
	server := &healthServer{answers: []healthAnswer{{200, "0", padded}}}
	port := server.start(t)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	client := &healthClient{}
	defer client.close()
	client.begin(conn)
	for i := range 100 { // 400 kB, six times the first window
		if saw := client.ask(conn); saw != "" {
			t.Fatalf("question %d: %s", i, saw)
		}
	}
}

func TestParseHealthAnswer(t *testing.T) {
	message := func(b ...byte) []byte { return appendMessage(nil, b) }
	tests := []struct {
		name string
		in   []byte
		want int
		err  error
	}{
		{"serving", message(8, 1), 1, nil},
		{"nothing is UNKNOWN", message(), 0, nil},
		{"the last one counts", message(8, 2, 8, 1), 1, nil},
		{"other fields", message(0x10, 0xff, 1, 0x1a, 2, 'a', 'b', 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 8, 1), 1, nil},
		{"compressed", []byte{1, 0, 0, 0, 0}, 0, errCompressed},
		{"no prefix", []byte{0, 0}, 0, errNoMessage},
		{"short", []byte{0, 0, 0, 0, 3, 8, 1}, 0, errNoMessage},
		{"long", []byte{0, 0, 0, 0, 1, 8, 1}, 0, errNoMessage},
		{"a varint without end", message(8, 0x80), 0, errNoMessage},
		{"a string without end", message(0x1a, 200, 1), 0, errNoMessage},
		{"a fixed without end", message(0x21, 1), 0, errNoMessage},
		{"a group", message(0x0b), 0, errNoMessage},
		{"a number that is too large", message(8, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 0, errNoMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHealthAnswer(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d, %v, want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseHealthAnswer(f *testing.F) {
	f.Add(healthMessage(1))
	f.Add([]byte{0, 0, 0, 0, 4, 0x1a, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, in []byte) {
		if status, err := parseHealthAnswer(in); status < 0 || (err != nil && status != 0) {
			t.Errorf("got %d, %v", status, err)
		}
	})
}

// stream is a connection whose other end has said in and takes everything.
type stream struct {
	io.Reader
	io.Writer
}

// FuzzHTTP2Answer is about servers that say anything: the client must end, and
// keep no more than its bounds.
func FuzzHTTP2Answer(f *testing.F) {
	headers := appendFrame(nil, frameHeaders, flagEndHeaders, 1, []byte{0x88}) // :status 200
	f.Add(append(bytes.Clone(headers), appendFrame(nil, frameData, flagEndStream, 1, healthMessage(1))...))
	f.Add(appendFrame(appendFrame(headers, frameSettings, 0, 0, []byte{0, 1, 0, 0, 0, 0}), framePing, 0, 0, make([]byte, 8)))
	f.Add(appendFrame(appendFrame(nil, frameHeaders, flagPadded|flagPriority, 1, []byte{1, 0, 0, 0, 0, 0, 0x88, 0}), frameContinuation, flagEndHeaders, 1, []byte{0x88}))
	f.Add(appendFrame(nil, frameGoAway, 0, 0, make([]byte, 8)))
	f.Add(appendFrame(nil, frameReset, 0, 1, make([]byte, 4)))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newHTTP2Conn(stream{bytes.NewReader(in), io.Discard}, "x")
		for range 3 {
			answer, err := c.post("/", []byte{0})
			if err != nil {
				return
			}
			if len(answer.data) > maxData || len(answer.grpcMessage) > maxHeaders {
				t.Errorf("%d bytes of data and %d of message are kept", len(answer.data), len(answer.grpcMessage))
			}
		}
	})
}
