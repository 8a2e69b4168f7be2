package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where the bundle mounts the sandbox's own cgroup, read-only.
const cgroupRoot = "/sys/fs/cgroup"

// report tells what this process sees, one aligned line a fact. Limits are read
// from the kernel's own files, not from the bundle.
func report() (string, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read hostname: %w", err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list network interfaces: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", fmt.Errorf("cannot read own status: %w; is /proc mounted?", err)
	}
	memory, err := memoryLimit(cgroupRoot)
	if err != nil {
		return "", err
	}
	cpu, err := cpuLimit(cgroupRoot)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, line := range []struct{ label, value string }{
		{"pid", strconv.Itoa(os.Getpid())},
		{"uid", strconv.Itoa(os.Getuid())},
		{"hostname", hostname},
		{"memory limit", memory},
		{"CPU limit", cpu},
		{"network interfaces", describeInterfaces(interfaces)},
		{"seccomp", seccompMode(statusField(string(status), "Seccomp"))},
		{"no new privileges", yesNo(statusField(string(status), "NoNewPrivs"))},
	} {
		fmt.Fprintf(&out, "  %-20s%s\n", line.label, line.value)
	}
	return out.String(), nil
}

func describeInterfaces(interfaces []net.Interface) string {
	names := make([]string, len(interfaces))
	for i, each := range interfaces {
		names[i] = each.Name
	}
	return fmt.Sprintf("%d (%s)", len(names), strings.Join(names, ", "))
}

// memoryLimit reads memory.max (cgroup v2) or memory.limit_in_bytes (v1).
func memoryLimit(root string) (string, error) {
	text, err := readFirst(root, "memory.max", "memory/memory.limit_in_bytes")
	if errors.Is(err, fs.ErrNotExist) {
		return "none (no memory controller here)", nil
	}
	if err != nil {
		return "", fmt.Errorf("read memory limit: %w", err)
	}
	if text == "max" {
		return "none", nil
	}
	limit, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return "", fmt.Errorf("read memory limit: %w", err)
	}
	// v1 has no word for "no limit": it shows the largest page-aligned int64,
	// which depends on the page size.
	if limit > 1<<62 {
		return "none", nil
	}
	return fmt.Sprintf("%d bytes (%g MiB)", limit, float64(limit)/(1<<20)), nil
}

// cpuLimit reads cpu.max (cgroup v2) or the quota and period files of v1, whose
// directory is named by the controllers that share it.
func cpuLimit(root string) (string, error) {
	quota, err := readFirst(root, "cpu.max", "cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us", "cpuacct,cpu/cpu.cfs_quota_us")
	if errors.Is(err, fs.ErrNotExist) {
		return "none (no CPU controller here)", nil
	}
	if err != nil {
		return "", fmt.Errorf("read CPU limit: %w", err)
	}
	quota, period, isV2 := strings.Cut(quota, " ")
	if !isV2 {
		period, err = readFirst(root, "cpu/cpu.cfs_period_us", "cpu,cpuacct/cpu.cfs_period_us", "cpuacct,cpu/cpu.cfs_period_us")
		if err != nil {
			return "", fmt.Errorf("read CPU period: %w", err)
		}
	}
	if quota == "max" || quota == "-1" {
		return "none", nil
	}
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return "", fmt.Errorf("read CPU quota: %w", err)
	}
	p, err := strconv.ParseFloat(period, 64)
	if err != nil || p <= 0 {
		return "", fmt.Errorf("read CPU period: %q is no number of microseconds", period)
	}
	return fmt.Sprintf("%g CPUs (%s of every %s microseconds)", q/p, quota, period), nil
}

// readFirst returns the trimmed content of the first of names that exists.
func readFirst(root string, names ...string) (string, error) {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return strings.TrimSpace(string(data)), err
	}
	return "", fs.ErrNotExist
}

// statusField returns one value of proc_pid_status(5), "" if this kernel has none.
func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func seccompMode(value string) string {
	switch value {
	case "0":
		return "off"
	case "1":
		return "strict"
	case "2":
		return "filter"
	}
	return "unknown"
}

func yesNo(value string) string {
	switch value {
	case "0":
		return "no"
	case "1":
		return "yes"
	}
	return "unknown"
}
