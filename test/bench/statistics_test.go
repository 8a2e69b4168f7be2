package main

import (
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 5}, 5},
		{[]float64{8, 2, 100, 4}, 6},
	}
	for _, test := range tests {
		before := test.values[0]
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
		if test.values[0] != before {
			t.Errorf("median sorted its argument: %v", test.values)
		}
	}
}

func TestSummarize(t *testing.T) {
	of := func(pairs ...time.Duration) []sample {
		var samples []sample
		for i := 0; i < len(pairs); i += 2 {
			samples = append(samples, sample{CPU: pairs[i], Wall: pairs[i+1]})
		}
		return samples
	}
	own := of(10, 20, 30, 90, 20, 40)
	tests := []struct {
		name      string
		base      []sample
		wantRatio *ratio
	}{
		// By round: CPU 10/20, 30/15, 20/20; wall 20/40, 90/90, 40/20.
		{"with reference", of(20, 40, 15, 90, 20, 20), &ratio{CPU: 1, Wall: 1}},
		// Twice as dear in each round, though the rounds differ by ten.
		{"noise divides out", of(5, 10, 15, 45, 10, 20), &ratio{CPU: 2, Wall: 2}},
		{"reference is missing", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := summarize(own, test.base)
			if want := (spread{Min: 10, Median: 20}); got.CPU != want {
				t.Errorf("CPU = %v, want %v", got.CPU, want)
			}
			if want := (spread{Min: 20, Median: 40}); got.Wall != want {
				t.Errorf("wall = %v, want %v", got.Wall, want)
			}
			if (got.Ratio == nil) != (test.wantRatio == nil) || got.Ratio != nil && *got.Ratio != *test.wantRatio {
				t.Errorf("ratio = %v, want %v", got.Ratio, test.wantRatio)
			}
		})
	}
}
