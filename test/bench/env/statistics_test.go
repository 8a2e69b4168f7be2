package main

import (
	"testing"
	"time"
)

func TestFiguresOfSamples(t *testing.T) {
	of := func(times ...int) []sample {
		var all []sample
		for _, milliseconds := range times {
			d := time.Duration(milliseconds) * time.Millisecond
			all = append(all, sample{up: cost{wall: d, cpu: d}})
		}
		return all
	}
	cpu := func(s sample) time.Duration { return s.up.cpu }
	unmeasured := []sample{{up: cost{cpu: -1}}, {up: cost{cpu: -1}}, {up: cost{cpu: -1}}}
	tests := []struct {
		name      string
		own, base []sample
		spread    string
		ratio     string
		over      time.Duration
	}{
		{"one round", of(10), of(40), "10.0 10.0", "0.250", -30 * time.Millisecond},
		// The ratio of a round's own two, not of the medians (0.5).
		{"three rounds", of(30, 10, 20), of(10, 40, 60), "10.0 20.0", "0.333", -30 * time.Millisecond},
		{"no cpuacct", unmeasured, of(1, 2, 3), "-", "-", unknown},
		{"a peer without samples", of(5), nil, "5.0 5.0", "-", unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := spread(tt.own, cpu); got != tt.spread {
				t.Errorf("spread %q, want %q", got, tt.spread)
			}
			if got := ratio(tt.own, tt.base, cpu); got != tt.ratio {
				t.Errorf("ratio %q, want %q", got, tt.ratio)
			}
			if got := difference(tt.own, tt.base, cpu); got != tt.over {
				t.Errorf("difference %v, want %v", got, tt.over)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	if got, err := numbers("1,10,50"); err != nil || len(got) != 3 || got[2] != 50 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, list := range []string{"", "1,", "0", "x", "1001"} {
		if got, err := numbers(list); err == nil {
			t.Errorf("%q: got %v", list, got)
		}
	}
}
