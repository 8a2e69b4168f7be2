package supervisor

import (
	"slices"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestBackoff(t *testing.T) {
	type end struct {
		code int
		ran  time.Duration
	}
	const ms = time.Millisecond
	crash := end{code: 1}
	tests := []struct {
		name   string
		policy plan.Restart
		ends   []end
		want   []time.Duration // -1 for no restart
	}{
		{"no policy", plan.Restart{}, []end{crash}, []time.Duration{-1}},
		{"no", plan.Restart{Policy: "no"}, []end{crash}, []time.Duration{-1}},
		{"always doubles", plan.Restart{Policy: "always"}, []end{{}, crash, {}}, []time.Duration{100 * ms, 200 * ms, 400 * ms}},
		{"a good run resets", plan.Restart{Policy: "always"}, []end{crash, crash, {1, 10 * time.Second}, crash},
			[]time.Duration{100 * ms, 200 * ms, 100 * ms, 200 * ms}},
		{"on-failure leaves success", plan.Restart{Policy: "on-failure"}, []end{crash, {}}, []time.Duration{100 * ms, -1}},
		{"attempts end", plan.Restart{Policy: "on-failure", MaxAttempts: 2}, []end{crash, crash, crash}, []time.Duration{100 * ms, 200 * ms, -1}},
		{"a good run gives attempts back", plan.Restart{Policy: "on-failure", MaxAttempts: 1, Window: time.Second}, []end{crash, {1, time.Second}, crash},
			[]time.Duration{100 * ms, 100 * ms, -1}},
		{"own delay", plan.Restart{Policy: "unless-stopped", Delay: 5 * time.Second}, []end{crash, crash}, []time.Duration{5 * time.Second, 10 * time.Second}},
		{"a minute at most", plan.Restart{Policy: "always", Delay: 40 * time.Second}, []end{crash, crash, crash},
			[]time.Duration{40 * time.Second, time.Minute, time.Minute}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := backoff{policy: test.policy}
			var got []time.Duration
			for _, e := range test.ends {
				delay, again := b.next(e.code, e.ran)
				if !again {
					delay = -1
				}
				got = append(got, delay)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("delays = %v, want %v", got, test.want)
			}
		})
	}
}
