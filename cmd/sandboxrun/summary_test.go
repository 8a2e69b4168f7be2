package main

import (
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func some[T any](v T) *T { return &v }

func TestSummaryShowsUseBesideLimit(t *testing.T) {
	report := &runtime.Report{
		ID:          "web",
		Reason:      runtime.ReasonOOM,
		ExitCode:    137,
		Signal:      some(9),
		WallSeconds: some(75.4),
		Stats: cgroup.Stats{
			CPU:    cgroup.CPUStats{UserSeconds: some(1.2345), SystemSeconds: some(0.0101), Periods: some(uint64(20)), ThrottledPeriods: some(uint64(7))},
			Memory: cgroup.MemoryStats{PeakBytes: some(uint64(64 << 20))},
			OOM:    cgroup.OOMStats{Kills: some(uint64(2)), Victims: []cgroup.Victim{{Pid: 41, Comm: "a\x1b[2J"}, {Pid: 42, Comm: "b"}}},
			Pids:   cgroup.PidsStats{Peak: some(uint64(5))},
		},
		Limits: runtime.ReportedLimits{
			EffectiveLimits: cgroup.EffectiveLimits{MemoryBytes: some(int64(64 << 20)), CPUs: some(0.5)},
			WallTimeSeconds: some(90.0),
		},
		MissingControllers: []string{"io"},
		Phases:             runtime.Phases{CreateSeconds: some(0.0123)},
	}
	const want = `
web: ended by the kernel's OOM killer (killed)
  time      1m15s, limit 1m30s
  cpu       1.23s user, 10.1ms system, limit 0.5 CPUs, throttled in 7 of 20 periods
  memory    64MiB at the peak, limit 64MiB
  oom       2 processes killed: "a\x1b[2J" (41), "b" (42)
  processes 5 at the peak
  start     12.3ms to create
  missing   no limit by io
`
	var out strings.Builder
	printSummary(&out, report)
	if out.String() != want {
		t.Errorf("summary:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestSummaryOfAFailedStartIsOneLine(t *testing.T) {
	var out strings.Builder
	printSummary(&out, runtime.FailedStart("web", "/b", commandline.ErrUsage))
	if got, want := out.String(), "\nweb: did not start\n"; got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
}
