package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// healthRun is a run of a check in a bubble: what was told of, and when.
type healthRun struct {
	health  *Health
	start   time.Time
	changes []string // "1.2s healthy"
	checks  []time.Duration
	running atomic.Int64
}

// run checks for a while. result says how the check ends that began some time
// after the start: an exit code, and how long it takes.
func runHealth(t *testing.T, check plan.Healthcheck, length time.Duration, result func(after time.Duration) (int, time.Duration)) *healthRun {
	t.Helper()
	r := &healthRun{start: time.Now()}
	r.health = NewHealth(check, func(ctx context.Context, command []string, output *Tail) (int, error) {
		if r.running.Add(1) != 1 {
			t.Error("two checks at once")
		}
		defer r.running.Add(-1)
		after := time.Since(r.start)
		r.checks = append(r.checks, after)
		code, takes := result(after)
		fmt.Fprintf(output, "%v ends with %d", command, code)
		select {
		case <-time.After(takes):
			return code, nil
		case <-ctx.Done():
			return -1, errors.New("killed")
		}
	}, func(status HealthStatus) {
		r.changes = append(r.changes, fmt.Sprintf("%v %s", time.Since(r.start), status.State))
	})
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	r.health.Run(ctx)
	if r.running.Load() != 0 {
		t.Error("a check still runs")
	}
	return r
}

func TestHealthChangesAsDockerHasIt(t *testing.T) {
	const s = time.Second
	at := func(healthy ...time.Duration) func(time.Duration) (int, time.Duration) { // healthy from, to, from, to, …
		return func(after time.Duration) (int, time.Duration) {
			code := 1
			for _, edge := range healthy {
				if after >= edge {
					code = 1 - code
				}
			}
			return code, 0
		}
	}
	tests := []struct {
		name   string
		check  plan.Healthcheck
		result func(time.Duration) (int, time.Duration)
		want   []string
	}{
		{
			name: "healthy from the start", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 3},
			result: at(0), want: []string{"0s healthy"},
		},
		{
			name: "never healthy: three intervals", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 3},
			result: at(), want: []string{"30s unhealthy"},
		},
		{
			name: "the defaults", check: plan.Healthcheck{},
			result: at(), want: []string{"1m30s unhealthy"},
		},
		{
			name: "failures in the start period do not count", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 2, StartPeriod: 60 * s, StartInterval: 20 * s},
			result: at(), want: []string{"1m10s unhealthy"}, // at 60 s, when the period is over, and one interval later: the second
		},
		{
			name: "it gets ill, and well again", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 2},
			result: at(0, 15*s, 55*s), want: []string{"0s healthy", "30s unhealthy", "1m0s healthy"},
		},
		{
			name: "one failure fewer than the retries", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 3},
			result: at(0, 15*s, 35*s), want: []string{"0s healthy"},
		},
		{
			name: "the start period is over with the first success", check: plan.Healthcheck{Interval: 10 * s, Timeout: 5 * s, Retries: 1, StartPeriod: 100 * s, StartInterval: 5 * s},
			result: at(0, 1*s), want: []string{"0s healthy", "5s unhealthy"},
		},
		{
			name: "checks that hang are killed, and count", check: plan.Healthcheck{Interval: 10 * s, Timeout: 2 * s, Retries: 2},
			result: func(time.Duration) (int, time.Duration) { return 0, time.Hour },
			want:   []string{"24s unhealthy"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runHealth(t, tt.check, 100*s, tt.result)
				if !equal(r.changes, tt.want) {
					t.Errorf("got %q, want %q", r.changes, tt.want)
				}
			})
		})
	}
}

// TestHealthIsSeenSoon: long before docker's first check.
func TestHealthIsSeenSoon(t *testing.T) {
	for _, well := range []time.Duration{0, 30 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second, 17 * time.Second} {
		t.Run(well.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen time.Duration
				start := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				checks := 0
				NewHealth(plan.Healthcheck{}, func(context.Context, []string, *Tail) (int, error) {
					checks++
					if time.Since(start) < well {
						return 1, nil
					}
					return 0, nil
				}, func(HealthStatus) {
					seen = time.Since(start)
					cancel()
				}).Run(ctx)
				if limit := well + well/2 + firstEarlyPause; seen < well || seen > limit {
					t.Errorf("seen after %v, want it between %v and %v", seen, well, limit)
				}
				if checks > 16 {
					t.Errorf("%d checks in %v are many", checks, seen)
				}
			})
		})
	}
}

func TestHealthKeepsTheEndOfTheLastCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runHealth(t, plan.Healthcheck{Command: []string{"a", "b"}, Interval: time.Second, Timeout: 300 * time.Millisecond}, 1100*time.Millisecond,
			func(time.Duration) (int, time.Duration) { return 3, 0 })
		got := *r.health.Status().Last
		want := CheckResult{Start: r.start.Add(time.Second), ExitCode: 3, Output: "[a b] ends with 3"}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := runHealth(t, plan.Healthcheck{Interval: time.Second, Timeout: 300 * time.Millisecond}, 1400*time.Millisecond,
			func(time.Duration) (int, time.Duration) { return 0, time.Hour })
		got := *r.health.Status().Last
		want := CheckResult{
			Start: r.start.Add(time.Second), Duration: 300 * time.Millisecond, ExitCode: -1,
			Error: "the check had not ended after 300ms and was killed", Output: "[] ends with 0",
		}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h := NewHealth(plan.Healthcheck{}, func(context.Context, []string, *Tail) (int, error) { return 0, errors.New("no such file") }, func(HealthStatus) {})
		h.Run(ctx)
		if last := h.Status().Last; last.ExitCode != -1 || last.Error != "no such file" {
			t.Errorf("got %+v", last)
		}
	})
}

func TestTail(t *testing.T) {
	var all strings.Builder
	var tail Tail
	for i := range 3000 {
		chunk := strings.Repeat(string(rune('a'+i%26)), i%50)
		if i == 1500 {
			chunk = strings.Repeat("long", maxOutput)
		}
		all.WriteString(chunk)
		if n, err := tail.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
		want := all.String()[max(0, all.Len()-maxOutput):]
		if got := tail.String(); got != want {
			t.Fatalf("after %d writes: got …%q, want …%q", i+1, got[max(0, len(got)-20):], want[max(0, len(want)-20):])
		}
	}
	if cap(tail.bytes) > 4*maxOutput {
		t.Errorf("%d bytes are kept", cap(tail.bytes))
	}
}
