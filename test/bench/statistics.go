package main

import (
	"slices"
	"time"
)

// summary is what the samples of one contender in one variant come to. Times
// are in nanoseconds in JSON.
type summary struct {
	CPU  spread `json:"cpu"`
	Wall spread `json:"wall"`
	// Ratio to the reference; nil if that is missing.
	Ratio *ratio `json:"ratio"`
}

type spread struct {
	Min    time.Duration `json:"min_ns"`
	Median time.Duration `json:"median_ns"`
}

// ratio holds the medians of the ratios of each round.
type ratio struct {
	CPU  float64 `json:"cpu"`
	Wall float64 `json:"wall"`
}

func cpuTime(s sample) time.Duration  { return s.CPU }
func wallTime(s sample) time.Duration { return s.Wall }

// summarize condenses own, which must not be empty. base are the reference's
// samples of the same rounds in the same order, or none.
func summarize(own, base []sample) summary {
	s := summary{CPU: spreadOf(own, cpuTime), Wall: spreadOf(own, wallTime)}
	if len(base) > 0 {
		s.Ratio = &ratio{CPU: medianRatio(own, base, cpuTime), Wall: medianRatio(own, base, wallTime)}
	}
	return s
}

func spreadOf(samples []sample, of func(sample) time.Duration) spread {
	values := make([]time.Duration, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return spread{Min: slices.Min(values), Median: median(values)}
}

// medianRatio pairs the samples by round: noise that lasts longer than a round
// divides out.
func medianRatio(own, base []sample, of func(sample) time.Duration) float64 {
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = float64(of(own[i])) / float64(of(base[i]))
	}
	return median(ratios)
}

// median returns the middle value, or the mean of the two in the middle. It
// leaves values as they are.
func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
