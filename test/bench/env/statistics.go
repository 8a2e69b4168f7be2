package main

import (
	"fmt"
	"slices"
	"time"
)

// unknown is a time that could not be measured.
const unknown = time.Duration(-1)

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median returns the middle value, the higher of two; values must not be empty.
func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// pick takes one figure of each sample, and tells whether all are known.
func pick(samples []sample, of func(sample) time.Duration) (values []time.Duration, known bool) {
	for _, s := range samples {
		values = append(values, of(s))
		if of(s) < 0 {
			return nil, false
		}
	}
	return values, len(values) > 0
}

// spread is minimum and median in ms.
func spread(samples []sample, of func(sample) time.Duration) string {
	values, known := pick(samples, of)
	if !known {
		return "-"
	}
	return fmt.Sprintf("%.1f %.1f", ms(slices.Min(values)), ms(median(values)))
}

// ratio is the median of the rounds' ratios.
func ratio(own, base []sample, of func(sample) time.Duration) string {
	a, known := pick(own, of)
	b, alsoKnown := pick(base, of)
	if !known || !alsoKnown {
		return "-"
	}
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(b[i])
	}
	return fmt.Sprintf("%.3f", median(ratios))
}

// difference is the median of the rounds' differences, or unknown.
func difference(own, base []sample, of func(sample) time.Duration) time.Duration {
	a, known := pick(own, of)
	b, alsoKnown := pick(base, of)
	if !known || !alsoKnown {
		return unknown
	}
	differences := make([]time.Duration, len(a))
	for i := range a {
		differences[i] = a[i] - b[i]
	}
	return median(differences)
}
