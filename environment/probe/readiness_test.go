package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// TestWhatIsPolledIsSeenWithin20Milliseconds is about the pauses, by a clock
// that stands still while a look is taken, and so says the same on any machine.
func TestWhatIsPolledIsSeenWithin20Milliseconds(t *testing.T) {
	for _, after := range []time.Duration{
		0, 500 * time.Microsecond, 1 * time.Millisecond, 7 * time.Millisecond, 33 * time.Millisecond,
		time.Second, 10*time.Second + 3*time.Millisecond, 59 * time.Second,
	} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				looks := 0
				target := Target{Listening: func(port uint16) (bool, error) {
					looks++
					return port == 80 && time.Since(start) >= after, nil
				}}
				if err := Wait(t.Context(), target, plan.Probe{Kind: plan.ProbeListen, Port: 80}); err != nil {
					t.Fatal(err)
				}
				if late := time.Since(start) - after; late > 20*time.Millisecond {
					t.Errorf("seen %v late", late)
				}
				// Eleven looks more than one in 15 ms: the first are closer.
				if most := 11 + int(after/(15*time.Millisecond)); looks > most {
					t.Errorf("%d looks in %v, want at most %d", looks, after, most)
				}
			})
		})
	}
}

func TestWaitTellsWhatWasSeenLast(t *testing.T) {
	refused := func(_ context.Context, _, address string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	address := netip.MustParseAddr("10.89.0.3")
	tests := []struct {
		name   string
		target Target
		probe  plan.Probe
		want   string
	}{
		{
			name:   "a refused connection",
			target: Target{Address: address, Dial: refused},
			probe:  plan.Probe{Kind: plan.ProbeTCP, Port: 5432},
			want:   "connection refused at 10.89.0.3:5432 for 1m0s, and after 1m0s its time is over; see its output, or raise the timeout of this tcp probe",
		},
		{
			name: "nobody listens, so that no connection is tried",
			target: Target{Address: address, Listening: func(uint16) (bool, error) { return false, nil }, Dial: func(context.Context, string, string) (net.Conn, error) {
				panic("a connection is tried")
			}},
			probe: plan.Probe{Kind: plan.ProbeHTTP, Port: 80, Timeout: 3 * time.Second},
			want:  "connection refused at 10.89.0.3:80 for 3s, and after 3s its time is over; see its output, or raise the timeout of this http probe",
		},
		{
			name: "no route",
			target: Target{Address: address, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}
			}},
			probe: plan.Probe{Kind: plan.ProbeGRPC, Host: "fd00::7", Port: 81, Timeout: time.Second},
			want:  "no connection to [fd00::7]:81: no route to host for 1s, and after 1s its time is over; see its output, or raise the timeout of this grpc probe",
		},
		{
			name: "packets that vanish",
			target: Target{Address: address, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}},
			probe: plan.Probe{Kind: plan.ProbeTCP, Port: 80, Timeout: time.Second},
			want:  "no answer to a connection from 10.89.0.3:80 for 1s, and after 1s its time is over; see its output, or raise the timeout of this tcp probe",
		},
		{
			name:   "nobody listens",
			target: Target{Listening: func(uint16) (bool, error) { return false, nil }},
			probe:  plan.Probe{Kind: plan.ProbeListen, Port: 80, Timeout: 2 * time.Second},
			want:   "nothing listens on port 80 for 2s, and after 2s its time is over; see its output, or raise the timeout of this listen probe",
		},
		{
			name:   "the kernel does not say",
			target: Target{Listening: func(uint16) (bool, error) { return false, errors.New("netlink is full") }},
			probe:  plan.Probe{Kind: plan.ProbeListen, Port: 80, Timeout: 2 * time.Second},
			want:   "listening sockets cannot be read: netlink is full for 2s, and after 2s its time is over; see its output, or raise the timeout of this listen probe",
		},
		{
			name:  "no notification",
			probe: plan.Probe{Kind: plan.ProbeNotify, Timeout: time.Second},
			want:  "no READY=1 came by sd_notify for 1s, and after 1s its time is over; see its output, or raise the timeout of this notify probe",
		},
		{
			name:  "no line of output",
			probe: plan.Probe{Kind: plan.ProbeLog, Pattern: "^ready", Times: 2, Timeout: time.Second},
			want:  `0 of 2 lines of output matched "^ready" for 1s, and after 1s its time is over; see its output, or raise the timeout of this log probe`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := Wait(t.Context(), tt.target, tt.probe)
				if !errors.Is(err, ErrTimeout) {
					t.Fatalf("got %v, want ErrTimeout", err)
				}
				if got := err.Error(); got != tt.want {
					t.Errorf("got:  %s\nwant: %s", got, tt.want)
				}
			})
		})
	}
}

func TestTimeoutsCountFromTheStartOfTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := Target{Started: time.Now().Add(-8 * time.Second), Notified: make(chan struct{})}
		begin := time.Now()
		err := Wait(t.Context(), target, plan.Probe{Kind: plan.ProbeNotify, Timeout: 10 * time.Second})
		if took := time.Since(begin); !errors.Is(err, ErrTimeout) || took != 2*time.Second {
			t.Errorf("got %v after %v, want ErrTimeout after 2s", err, took)
		}
	})
}

func TestReadinessNeedsAllProbes(t *testing.T) {
	probes := []plan.Probe{
		{Kind: plan.ProbeListen, Port: 1},
		{Kind: plan.ProbeLog, Pattern: "up"},
		{Kind: plan.ProbeNotify, Timeout: 5 * time.Second},
	}
	t.Run("one after the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			notified := make(chan struct{})
			target := Target{Notified: notified, Listening: func(uint16) (bool, error) { return time.Since(start) >= time.Second, nil }}
			r, err := New(probes)
			if err != nil {
				t.Fatal(err)
			}
			result := make(chan error)
			go func() { result <- r.Wait(t.Context(), target) }()
			<-time.After(2 * time.Second)
			r.Line([]byte("the service is up"))
			<-time.After(time.Second)
			synctest.Wait()
			select {
			case err := <-result:
				t.Fatalf("%v before the notification", err)
			default:
			}
			close(notified)
			if err := <-result; err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("ready after %v, want 3s, when the last became true", took)
			}
		})
	})
	t.Run("one that fails ends the others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r, err := New(probes)
			if err != nil {
				t.Fatal(err)
			}
			err = r.Wait(t.Context(), Target{Notified: make(chan struct{}), Listening: func(uint16) (bool, error) { return false, nil }})
			if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "sd_notify") {
				t.Errorf("got %v, want that of the notify probe", err)
			}
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("ended after %v, want 5s", took)
			}
		})
	})
	t.Run("the end of the instance", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := errors.New("it exited with code 3")
			ctx, cancel := context.WithCancelCause(t.Context())
			r, err := New(probes)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { cancel(gone) })
			err = r.Wait(ctx, Target{Notified: make(chan struct{}), Listening: func(uint16) (bool, error) { return false, nil }})
			if !errors.Is(err, gone) {
				t.Errorf("got %v, want the context's cause", err)
			}
		})
	})
	t.Run("none", func(t *testing.T) {
		r, err := New(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Line([]byte("x"))
		if err := r.Wait(t.Context(), Target{}); err != nil {
			t.Error(err)
		}
	})
}

func TestProbesThatCanNeverSucceedAreRefused(t *testing.T) {
	tests := []struct {
		probe plan.Probe
		want  string
	}{
		{plan.Probe{Kind: "ping"}, "invalid probe: ping: there is no such probe; there are tcp, http, grpc, log, notify and listen"},
		{plan.Probe{Kind: plan.ProbeTCP}, "invalid probe: tcp: it needs a port from 1 to 65535"},
		{plan.Probe{Kind: plan.ProbeTCP, Port: 1, Timeout: -1}, "invalid probe: tcp: timeout -1ns is negative"},
		{plan.Probe{Kind: plan.ProbeTCP, Port: 1, Host: "a b"}, `invalid probe: tcp: host "a b" is none`},
		{plan.Probe{Kind: plan.ProbeLog}, "invalid probe: log: it needs a pattern"},
		{plan.Probe{Kind: plan.ProbeLog, Pattern: "("}, "invalid probe: log: pattern: error parsing regexp: missing closing ): `(`"},
		{plan.Probe{Kind: plan.ProbeLog, Pattern: "a", Times: -1}, "invalid probe: log: times -1 is negative"},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Scheme: "https"}, "invalid probe: http: https is not spoken here; use a tcp probe, or a healthcheck with a client of the service"},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Scheme: "ftp"}, `invalid probe: http: there is no scheme "ftp"; there is http`},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Path: "x"}, `invalid probe: http: path "x" does not begin with / or has a blank; escape those by %20`},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Path: "/ HTTP/1.1\r\nX: y"}, `invalid probe: http: path "/ HTTP/1.1\r\nX: y" does not begin with / or has a blank; escape those by %20`},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Status: 100}, "invalid probe: http: status 100 is not in 200 to 599"},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Headers: map[string]string{"a:": "b"}}, `invalid probe: http: "a:" is no name of a header`},
		{plan.Probe{Kind: plan.ProbeHTTP, Port: 1, Headers: map[string]string{"A": "b\nc"}}, "invalid probe: http: the value of header A has more than one line"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			err := Check(tt.probe)
			if !errors.Is(err, ErrInvalid) || err.Error() != tt.want {
				t.Errorf("got %v", err)
			}
			if waited := Wait(t.Context(), Target{}, tt.probe); !errors.Is(waited, ErrInvalid) {
				t.Errorf("Wait: %v", waited)
			}
		})
	}
}

// BenchmarkWaiting tells the CPU time that a second of waiting costs for one
// service, while 50 wait. The kernel is asked by what a refused connection costs.
func BenchmarkWaiting(b *testing.B) {
	const services = 50
	address := netip.MustParseAddr("127.0.0.1")
	port := unusedPort(b)
	var looks atomic.Int64
	for _, way := range []struct {
		name   string
		probe  plan.Probe
		target Target
	}{
		{"refused connections", plan.Probe{Kind: plan.ProbeTCP, Port: port, Timeout: time.Second}, Target{Address: address, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			looks.Add(1)
			return direct(ctx, network, address)
		}}},
		{"questions that cost nothing", plan.Probe{Kind: plan.ProbeListen, Port: port, Timeout: time.Second}, Target{Listening: func(uint16) (bool, error) {
			looks.Add(1)
			return false, nil
		}}},
		{"output", plan.Probe{Kind: plan.ProbeLog, Pattern: "x", Timeout: time.Second}, Target{}},
	} {
		b.Run(way.name, func(b *testing.B) {
			looks.Store(0)
			before := cpuTime(b)
			for b.Loop() {
				ended := make(chan error, services)
				for range services {
					go func() { ended <- Wait(b.Context(), way.target, way.probe) }()
				}
				for range services {
					if err := <-ended; !errors.Is(err, ErrTimeout) {
						b.Fatal(err)
					}
				}
			}
			waited := float64(b.N * services)
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/waited, "µs-CPU/service-s")
			b.ReportMetric(float64(looks.Load())/waited, "looks/service-s")
		})
	}
}

func unusedPort(tb testing.TB) uint16 {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	var port uint16
	if _, err := fmt.Sscanf(listener.Addr().String(), "127.0.0.1:%d", &port); err != nil {
		tb.Fatal(err)
	}
	return port
}

func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
