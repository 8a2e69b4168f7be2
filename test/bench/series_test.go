package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	orders := schedule(20, 6, 1)
	if !reflect.DeepEqual(orders, schedule(20, 6, 1)) {
		t.Error("the same seed gives different orders")
	}
	if reflect.DeepEqual(orders, schedule(20, 6, 2)) {
		t.Error("different seeds give the same orders")
	}
	different := 0
	for _, order := range orders {
		if !slices.Equal(order, orders[0]) {
			different++
		}
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("order %v misses or repeats a job", order)
		}
	}
	if different < 15 {
		t.Errorf("only %d of 20 rounds differ from the first", different)
	}
}

func TestJobs(t *testing.T) {
	all := []contender{
		{Name: subject, Path: "/bin/sandboxrun", OCI: true},
		{Name: reference, OCI: true, Package: "runc"}, // missing
		{Name: "bwrap", Path: "/bin/bwrap", Package: "bubblewrap"},
		{Name: "fork+exec"},
	}
	var got []string
	for _, j := range jobs(allVariants(), all) {
		got = append(got, j.variant.Name+" "+j.contender.Name)
	}
	want := []string{"plain sandboxrun", "plain bwrap", "plain fork+exec", "seccomp sandboxrun", "limits sandboxrun", "seccomp+limits sandboxrun",
		"exec sandboxrun", "exec+seccomp sandboxrun", "create-start-delete sandboxrun", "create-start-delete+seccomp sandboxrun"}
	if !slices.Equal(got, want) {
		t.Errorf("jobs are %q, want %q", got, want)
	}
}

// shellSeries returns a series of one job, a shell script.
func shellSeries(t *testing.T, script string) *series {
	t.Helper()
	shell := contender{Name: "sh", Path: "/bin/sh", command: func(path string, _ place) []string {
		return []string{path, "-c", script}
	}}
	return &series{
		meter:   openMeter(t, time.Minute),
		jobs:    []job{{allVariants()[0], shell}},
		scratch: &scratch{name: "test", bundles: t.TempDir(), state: t.TempDir()},
	}
}

func TestSeries(t *testing.T) {
	s := shellSeries(t, ":")
	if err := s.run(t.Context(), 2, 3, 1); err != nil {
		t.Fatal(err)
	}
	if got := len(s.of("sh", allVariants()[0])); got != 3 || s.finished != 3 || s.runs != 5 {
		t.Errorf("%d samples, %d finished rounds, %d runs", got, s.finished, s.runs)
	}
	if s.of("sh", allVariants()[1]) != nil || s.of("bash", allVariants()[0]) != nil {
		t.Error("there are samples of what did not run")
	}
}

func TestSeriesStops(t *testing.T) {
	reason := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if err := shellSeries(t, ":").run(ctx, 0, 3, 1); !errors.Is(err, reason) {
		t.Errorf("error %v after the end of the context", err)
	}
	if err := shellSeries(t, "exit 3").run(t.Context(), 0, 3, 1); err == nil {
		t.Error("a contender that fails is no error")
	}
}
