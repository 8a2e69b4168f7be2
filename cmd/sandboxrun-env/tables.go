package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

// table starts a table as all commands of this project print them.
func table(out io.Writer, header ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(out, 0, 1, 3, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	return w
}

// writeStatus is the table of env ps.
func writeStatus(out io.Writer, instances []control.InstanceStatus, now time.Time) error {
	w := table(out, "NAME", "SERVICE", "STATUS", "RESTARTS", "ADDRESSES", "PORTS")
	for _, i := range instances {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", i.Name, i.Service, statusText(i, now), i.Restarts, dash(addressText(i.Addresses)), dash(portText(i.Ports)))
	}
	return w.Flush()
}

// statusText is the state in words as docker's: "running 3s (healthy)".
func statusText(i control.InstanceStatus, now time.Time) string {
	text := string(i.State)
	switch {
	case i.State == control.Exited && i.ExitCode != nil:
		text = fmt.Sprintf("exited (%d)", *i.ExitCode)
		if i.Since != nil {
			text += " " + age(now.Sub(*i.Since)) + " ago"
		}
	case i.Since != nil:
		text += " " + age(now.Sub(*i.Since))
	}
	switch {
	case i.Health != "":
		text += " (" + i.Health + ")"
	case i.State == control.Up && i.Ready:
		text += " (ready)"
	case i.State == control.Up:
		text += " (not ready)"
	}
	if len(i.NetworkLost) > 0 {
		text += fmt.Sprintf(" (network %s lost)", strings.Join(i.NetworkLost, ", "))
	}
	if i.OOMKills > 0 {
		text += fmt.Sprintf(" (%d OOM kills)", i.OOMKills)
	}
	return text
}

// age is a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func addressText(byNetwork map[string][]string) string {
	var all []string
	for _, network := range slices.Sorted(maps.Keys(byNetwork)) {
		all = append(all, byNetwork[network]...)
	}
	return strings.Join(all, ", ")
}

func portText(ports []control.PublishedPort) string {
	var all []string
	for _, p := range ports {
		all = append(all, fmt.Sprintf("%s->%d/%s", hostPort(p.HostIP, p.HostPort), p.Target, p.Protocol))
	}
	return strings.Join(all, ", ")
}

func hostPort(ip string, port uint16) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// usage is what an instance used and may use, in the figures of env stats; nil is
// what the kernel does not tell.
type usage struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Running bool   `json:"running"`
	// CPUs is use since the last look, in CPUs; nil at the first one.
	CPUs         *float64 `json:"cpus"`
	CPUsLimit    *float64 `json:"cpus_limit"`
	CPUSeconds   *float64 `json:"cpu_seconds"`
	Throttled    *float64 `json:"throttled_seconds"`
	MemoryBytes  *uint64  `json:"memory_bytes"`
	MemoryPeak   *uint64  `json:"memory_peak_bytes"`
	MemoryLimit  *int64   `json:"memory_limit_bytes"`
	Pids         *uint64  `json:"pids"`
	PidsPeak     *uint64  `json:"pids_peak"`
	PidsLimit    *int64   `json:"pids_limit"`
	ReadBytes    *uint64  `json:"read_bytes"`
	WrittenBytes *uint64  `json:"written_bytes"`
	OOMKills     *uint64  `json:"oom_kills"`
	Restarts     int      `json:"restarts"`
}

// usageOf takes what is shown out of s; before is the look before it, whose name
// and cgroup are the same, or nil.
func usageOf(s control.InstanceStats, before *control.InstanceStats) usage {
	u := usage{
		Service: s.Service, Name: s.Name, Running: s.Stats != nil, Restarts: s.Restarts,
		CPUsLimit: s.Limits.CPUs, MemoryLimit: s.Limits.MemoryBytes, PidsLimit: s.Limits.Pids,
	}
	if s.Stats == nil {
		return u
	}
	u.CPUSeconds = cpuSeconds(s)
	u.MemoryBytes, u.Pids = s.Usage.MemoryBytes, s.Usage.Pids
	u.Throttled, u.MemoryPeak, u.PidsPeak = s.Stats.CPU.ThrottledSeconds, s.Stats.Memory.PeakBytes, s.Stats.Pids.Peak
	u.ReadBytes, u.WrittenBytes, u.OOMKills = s.Stats.IO.ReadBytes, s.Stats.IO.WrittenBytes, s.Stats.OOM.Kills
	if before == nil || before.Stats == nil {
		return u
	}
	if then, span := cpuSeconds(*before), s.At.Sub(before.At).Seconds(); then != nil && u.CPUSeconds != nil && span > 0 && *u.CPUSeconds >= *then {
		rate := (*u.CPUSeconds - *then) / span
		u.CPUs = &rate
	}
	return u
}

func cpuSeconds(s control.InstanceStats) *float64 {
	if s.Stats == nil || s.Stats.CPU.UserSeconds == nil || s.Stats.CPU.SystemSeconds == nil {
		return nil
	}
	sum := *s.Stats.CPU.UserSeconds + *s.Stats.CPU.SystemSeconds
	return &sum
}

// writeUsage is the table of env stats: use, a slash, the limit.
func writeUsage(out io.Writer, all []usage) error {
	w := table(out, "NAME", "CPUS", "CPU TIME", "THROTTLED", "MEMORY", "PEAK", "PROCESSES", "DISK READ", "WRITTEN", "OOM KILLS", "RESTARTS")
	for _, u := range all {
		if !u.Running {
			fmt.Fprintf(w, "%s\tnot running\t-\t-\t-\t-\t-\t-\t-\t-\t%d\n", u.Name, u.Restarts)
			continue
		}
		fmt.Fprintf(w, "%s\t%s / %s\t%s\t%s\t%s / %s\t%s\t%s / %s\t%s\t%s\t%s\t%d\n", u.Name,
			figure(u.CPUs, "%.2f"), limit(u.CPUsLimit, func(v float64) string { return fmt.Sprintf("%.4g", v) }),
			seconds(u.CPUSeconds), seconds(u.Throttled),
			size(u.MemoryBytes), limit(u.MemoryLimit, func(v int64) string { return units.BytesSize(float64(v)) }), size(u.MemoryPeak),
			figure(u.Pids, "%d"), limit(u.PidsLimit, func(v int64) string { return fmt.Sprint(v) }),
			size(u.ReadBytes), size(u.WrittenBytes), figure(u.OOMKills, "%d"), u.Restarts)
	}
	return w.Flush()
}

func figure[T any](v *T, form string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(form, *v)
}

func limit[T any](v *T, text func(T) string) string {
	if v == nil {
		return "no limit"
	}
	return text(*v)
}

func size(v *uint64) string {
	if v == nil {
		return "-"
	}
	return units.BytesSize(float64(*v))
}

func seconds(v *float64) string {
	if v == nil {
		return "-"
	}
	return shortDuration(time.Duration(*v * float64(time.Second)))
}
