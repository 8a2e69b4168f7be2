package main

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// printSummary writes a report for people: one line a subject, use beside
// limit, and nothing about what this kernel does not tell.
func printSummary(w io.Writer, r *runtime.Report) {
	fmt.Fprintf(w, "\n%s: %s\n", r.ID, ending(r))
	line := func(name string, parts ...string) {
		parts = nonEmpty(parts)
		if len(parts) > 0 {
			fmt.Fprintf(w, "  %-9s %s\n", name, strings.Join(parts, ", "))
		}
	}
	line("time", timeOf(r.WallSeconds, ""), limitOf(r.Limits.WallTimeSeconds, secondsText))
	line("cpu",
		timeOf(r.CPU.UserSeconds, "user"), timeOf(r.CPU.SystemSeconds, "system"),
		limitOf(r.Limits.CPUs, func(n float64) string { return fmt.Sprintf("%g CPUs", n) }),
		limitOf(r.Limits.CPUTimeSeconds, secondsText),
		throttling(r))
	line("memory",
		sizeOf(r.Memory.PeakBytes, "at the peak"), sizeOf(r.Memory.SwapPeakBytes, "of swap"),
		limitOf(r.Limits.MemoryBytes, func(n int64) string { return bytesText(uint64(n)) }))
	line("oom", oom(r))
	line("processes", counted(r.Pids.Peak, "at the peak"), limitOf(r.Limits.Pids, func(n int64) string { return fmt.Sprint(n) }))
	line("disk", sizeOf(r.IO.ReadBytes, "read"), sizeOf(r.IO.WrittenBytes, "written"))
	line("waited",
		timeOf(atLeastAMillisecond(r.Pressure.CPU.SomeSeconds), "for CPU"),
		timeOf(atLeastAMillisecond(r.Pressure.Memory.SomeSeconds), "for memory"),
		timeOf(atLeastAMillisecond(r.Pressure.IO.SomeSeconds), "for disk"))
	line("start", timeOf(r.Phases.CreateSeconds, "to create"), timeOf(r.Phases.StartSeconds, "to start"))
	if len(r.MissingControllers) > 0 {
		line("missing", "no limit by "+strings.Join(r.MissingControllers, ", "))
	}
}

func ending(r *runtime.Report) string {
	if r.Reason == runtime.ReasonStartFailed {
		return "did not start"
	}
	text := map[runtime.Reason]string{
		runtime.ReasonExited:    "exited",
		runtime.ReasonSignalled: "ended by a signal",
		runtime.ReasonOOM:       "ended by the kernel's OOM killer",
		runtime.ReasonWallTime:  "ended: wall time used up",
		runtime.ReasonCPUTime:   "ended: CPU time used up",
		runtime.ReasonKilled:    "stopped",
	}[r.Reason]
	if r.Signal != nil {
		return fmt.Sprintf("%s (%s)", text, syscall.Signal(*r.Signal))
	}
	return fmt.Sprintf("%s with code %d", text, r.ExitCode)
}

func throttling(r *runtime.Report) string {
	if r.CPU.ThrottledPeriods == nil || *r.CPU.ThrottledPeriods == 0 || r.CPU.Periods == nil {
		return ""
	}
	return fmt.Sprintf("throttled in %d of %d periods", *r.CPU.ThrottledPeriods, *r.CPU.Periods)
}

func oom(r *runtime.Report) string {
	if r.OOM.Kills == nil || *r.OOM.Kills == 0 {
		return ""
	}
	text := count(int(*r.OOM.Kills), "process", "processes") + " killed"
	for i, v := range r.OOM.Victims {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += fmt.Sprintf("%s%q (%d)", sep, v.Comm, v.Pid)
	}
	return text
}

func timeOf(seconds *float64, what string) string {
	if seconds == nil {
		return ""
	}
	return strings.TrimSpace(secondsText(*seconds) + " " + what)
}

func secondsText(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(100 * time.Microsecond).String()
	}
}

func atLeastAMillisecond(s *float64) *float64 {
	if s == nil || *s < 0.001 {
		return nil
	}
	return s
}

func sizeOf(bytes *uint64, what string) string {
	if bytes == nil {
		return ""
	}
	return bytesText(*bytes) + " " + what
}

func bytesText(n uint64) string { return units.BytesSize(float64(n)) }

func counted(n *uint64, what string) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("%d %s", *n, what)
}

func limitOf[T any](limit *T, text func(T) string) string {
	if limit == nil {
		return ""
	}
	return "limit " + text(*limit)
}

func nonEmpty(parts []string) []string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return kept
}
