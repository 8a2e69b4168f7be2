package probe

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestHTTPProbeAsksAsItsPlanSays(t *testing.T) {
	tests := []struct {
		name  string
		probe plan.Probe
		want  string
	}{
		{
			name: "nothing",
			want: "GET / HTTP/1.1\r\nHost: ADDRESS\r\nUser-Agent: sandboxrun\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		},
		{
			name:  "a path and headers",
			probe: plan.Probe{Path: "/health?a=1", Headers: map[string]string{"host": "shop.test", "X-Key": "v", "accept": "text/plain"}},
			want:  "GET /health?a=1 HTTP/1.1\r\nHost: shop.test\r\nX-Key: v\r\naccept: text/plain\r\nUser-Agent: sandboxrun\r\nConnection: close\r\n\r\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			listener := serve(t, func(conn net.Conn) {
				var request strings.Builder
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					request.WriteString(line)
					if err != nil || line == "\r\n" {
						break
					}
				}
				got <- request.String()
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			probe := tt.probe
			probe.Kind, probe.Port = plan.ProbeHTTP, portOf(t, listener.Addr())
			if err := Wait(t.Context(), Target{Address: netip.MustParseAddr("127.0.0.1"), Dial: direct}, probe); err != nil {
				t.Fatal(err)
			}
			if got, want := <-got, strings.Replace(tt.want, "ADDRESS", listener.Addr().String(), 1); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestHTTPProbeWaitsForTheStatus(t *testing.T) {
	statuses := []int{500, 503, 404, 302, 200}
	for _, tt := range []struct {
		status, want int // want: requests until it is content
	}{{0, 4}, {404, 3}, {200, 5}} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/up" {
				t.Errorf("asked for %s", r.URL)
			}
			w.Header().Set("Location", "/")
			w.WriteHeader(statuses[asked%len(statuses)])
			asked++
		}))
		probe := plan.Probe{Kind: plan.ProbeHTTP, Port: portOf(t, server.Listener.Addr()), Path: "/up", Status: tt.status}
		err := Wait(t.Context(), Target{DialInside: direct}, probe)
		server.Close()
		if err != nil || asked != tt.want {
			t.Errorf("status %d: %v after %d requests, want %d", tt.status, err, asked, tt.want)
		}
	}
}

func TestReadStatus(t *testing.T) {
	endless := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 10_000)
	tests := []struct {
		name, in string
		status   int
		problem  string
	}{
		{name: "an answer", in: "HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", status: 200},
		{name: "HTTP/1.0 without a reason", in: "HTTP/1.0 503\n", status: 503},
		{name: "interim answers", in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\n", status: 201},
		{name: "nothing", in: "", problem: "unexpected EOF"},
		{name: "half a line", in: "HTTP/1.1 200 O", problem: "unexpected EOF"},
		{name: "another protocol", in: "220 mail ESMTP\r\n", problem: "the answer is not HTTP/1"},
		{name: "HTTP/2", in: "HTTP/2 200\r\n", problem: "the answer is not HTTP/1"},
		{name: "a status that is none", in: "HTTP/1.1 20x OK\r\n", problem: "the answer is not HTTP/1"},
		{name: "a sign", in: "HTTP/1.1 +20 OK\r\n", problem: "the answer is not HTTP/1"},
		{name: "a low status", in: "HTTP/1.1 099 OK\r\n", problem: "the answer is not HTTP/1"},
		{name: "a line without end", in: "HTTP/1.1 200 " + strings.Repeat("x", 1<<20), problem: "unexpected EOF"},
		{name: "no end of interim answers", in: endless, problem: "unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := strings.NewReader(tt.in)
			status, err := readStatus(from)
			problem := ""
			if err != nil {
				problem = err.Error()
			}
			if status != tt.status || problem != tt.problem {
				t.Errorf("got %d, %q, want %d, %q", status, problem, tt.status, tt.problem)
			}
			if read := len(tt.in) - from.Len(); read > maxHead {
				t.Errorf("%d bytes were read, want at most %d", read, maxHead)
			}
		})
	}
}

func FuzzReadStatus(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		status, err := readStatus(strings.NewReader(string(in)))
		if (err == nil) != (status >= 200 && status <= 999) {
			t.Errorf("got %d, %v", status, err)
		}
	})
}
