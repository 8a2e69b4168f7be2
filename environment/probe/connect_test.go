package probe

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestTCPProbeSeesAPortThatOpensLater(t *testing.T) {
	port := unusedPort(t)
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	var looks atomic.Int64
	opened := make(chan net.Listener)
	target := Target{Address: address.Addr(), Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
		if looks.Add(1) == 5 {
			listener, err := net.Listen("tcp", address.String())
			if err != nil {
				t.Error(err)
			}
			go func() { opened <- listener }()
		}
		return direct(ctx, network, to)
	}}
	if err := Wait(t.Context(), target, plan.Probe{Kind: plan.ProbeTCP, Port: port}); err != nil {
		t.Error(err)
	}
	if listener := <-opened; listener != nil {
		_ = listener.Close()
	}
	// The port opened within the fifth look, which saw it, or the sixth did.
	if n := looks.Load(); n > 6 {
		t.Errorf("%d looks, want at most 6", n)
	}
}

func TestWhereAProbeConnectsTo(t *testing.T) {
	own := netip.MustParseAddr("10.89.0.3")
	tests := []struct {
		host    string
		address netip.Addr
		want    []string
	}{
		{"", own, []string{"listening 80", "outside 10.89.0.3:80"}},
		{"", netip.Addr{}, []string{"listening 80", "inside 127.0.0.1:80", "inside [::1]:80"}},
		{"localhost", own, []string{"listening 80", "inside 127.0.0.1:80", "inside [::1]:80"}},
		{"127.0.0.1", own, []string{"listening 80", "inside 127.0.0.1:80"}},
		{"::1", own, []string{"listening 80", "inside [::1]:80"}},
		{"10.89.0.9", own, []string{"outside 10.89.0.9:80"}},
		{"db", own, []string{"outside db:80"}},
	}
	for _, tt := range tests {
		t.Run(tt.host+" of "+tt.address.String(), func(t *testing.T) {
			var got []string
			dial := func(from string) DialFunc {
				return func(_ context.Context, _, address string) (net.Conn, error) {
					got = append(got, from+" "+address)
					return nil, syscall.ECONNREFUSED
				}
			}
			target := Target{Address: tt.address, Dial: dial("outside"), DialInside: dial("inside"), Listening: func(port uint16) (bool, error) {
				got = append(got, "listening 80")
				return true, nil
			}}
			conn, saw := newConnector(target, plan.Probe{Kind: plan.ProbeTCP, Host: tt.host, Port: 80}).open(t.Context())
			if conn != nil || saw == "" {
				t.Errorf("got %v, %q", conn, saw)
			}
			if !equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestAServiceThatNeverAnswersDoesNotHoldAWaitThatHasEnded has a service that
// accepts and is silent.
func TestAServiceThatNeverAnswersDoesNotHoldAWaitThatHasEnded(t *testing.T) {
	for _, kind := range []plan.ProbeKind{plan.ProbeHTTP, plan.ProbeGRPC} {
		t.Run(string(kind), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			asked := make(chan struct{}, 1)
			listener := serve(t, func(conn net.Conn) {
				asked <- struct{}{}
				_, _ = conn.Read(make([]byte, 4096)) // the request
				_, _ = conn.Read(make([]byte, 4096)) // and no more, until the probe leaves
			})
			target := Target{Address: netip.MustParseAddr("127.0.0.1"), Dial: direct}
			result := make(chan error)
			go func() {
				result <- Wait(ctx, target, plan.Probe{Kind: kind, Port: portOf(t, listener.Addr()), Timeout: time.Hour})
			}()
			<-asked
			began := time.Now()
			cancel()
			if err := <-result; err != context.Canceled { //nolint:errorlint // it is returned as it is
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
			if took := time.Since(began); took > firstAnswer/2 {
				t.Errorf("the wait ended after %v, by its own patience", took)
			}
		})
	}
}
