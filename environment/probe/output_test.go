package probe

import (
	"sync"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestLogProbeCountsLinesFromTheFirst(t *testing.T) {
	tests := []struct {
		name   string
		times  int
		before []string // before anybody waits
		after  []string
	}{
		{"before the wait", 0, []string{"starting", "ready to accept connections"}, nil},
		{"after it", 1, []string{"starting"}, []string{"ready to accept connections"}},
		{"twice, as PostgreSQL", 2, []string{"ready to accept connections", "shutting down"}, []string{"x", "ready to accept connections"}},
		{"more than were wanted", 2, []string{"ready", "ready", "ready"}, []string{"ready"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New([]plan.Probe{{Kind: plan.ProbeLog, Pattern: `\bready\b`, Times: tt.times}})
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range tt.before {
				r.Line([]byte(line))
			}
			result := make(chan error)
			go func() { result <- r.Wait(t.Context(), Target{}) }()
			for _, line := range tt.after {
				r.Line([]byte(line))
			}
			if err := <-result; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLinesComeFromTwoStreamsAtOnce(t *testing.T) {
	r, err := New([]plan.Probe{{Kind: plan.ProbeLog, Pattern: "ready", Times: 200}})
	if err != nil {
		t.Fatal(err)
	}
	var streams sync.WaitGroup
	for range 2 {
		streams.Go(func() {
			for range 100 {
				r.Line([]byte("ready"))
			}
		})
	}
	streams.Wait()
	if err := r.Wait(t.Context(), Target{}); err != nil {
		t.Error(err)
	}
}
