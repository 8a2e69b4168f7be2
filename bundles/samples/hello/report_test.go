package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestLimits(t *testing.T) {
	tests := []struct {
		name   string
		files  map[string]string
		memory string
		cpu    string
	}{
		{"v2", map[string]string{"memory.max": "67108864\n", "cpu.max": "50000 100000\n"},
			"67108864 bytes (64 MiB)", "0.5 CPUs (50000 of every 100000 microseconds)"},
		{"v2 without limits", map[string]string{"memory.max": "max\n", "cpu.max": "max 100000\n"}, "none", "none"},
		{"v1", map[string]string{"memory/memory.limit_in_bytes": "4096\n", "cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"},
			"4096 bytes (0.00390625 MiB)", "1.5 CPUs (150000 of every 100000 microseconds)"},
		{"v1 joined controllers", map[string]string{"cpu,cpuacct/cpu.cfs_quota_us": "1000\n", "cpu,cpuacct/cpu.cfs_period_us": "10000\n"},
			"none (no memory controller here)", "0.1 CPUs (1000 of every 10000 microseconds)"},
		{"v1 without limits", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
			"none", "none"},
		{"nothing", nil, "none (no memory controller here)", "none (no CPU controller here)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := cgroupFiles(t, test.files)
			if got, err := memoryLimit(root); err != nil || got != test.memory {
				t.Errorf("memory: got %q, %v; want %q", got, err, test.memory)
			}
			if got, err := cpuLimit(root); err != nil || got != test.cpu {
				t.Errorf("cpu: got %q, %v; want %q", got, err, test.cpu)
			}
		})
	}
}

func TestLimitErrors(t *testing.T) {
	root := cgroupFiles(t, map[string]string{"memory.max": "lots", "cpu.max": "5 x"})
	if got, err := memoryLimit(root); err == nil || err.Error() != `read memory limit: strconv.ParseUint: parsing "lots": invalid syntax` {
		t.Errorf("memory: got %q, %v", got, err)
	}
	if got, err := cpuLimit(root); err == nil || err.Error() != `read CPU period: "x" is no number of microseconds` {
		t.Errorf("cpu: got %q, %v", got, err)
	}
	root = cgroupFiles(t, map[string]string{"cpu/cpu.cfs_quota_us": "1000"})
	if got, err := cpuLimit(root); err == nil || err.Error() != "read CPU period: file does not exist" {
		t.Errorf("cpu without period: got %q, %v", got, err)
	}
}

func TestStatusField(t *testing.T) {
	const status = "Name:\thello\nSeccomp:\t2\nSeccomp_filters:\t1\nNoNewPrivs:\t1\n"
	if got := seccompMode(statusField(status, "Seccomp")); got != "filter" {
		t.Errorf("seccomp: got %q", got)
	}
	if got := yesNo(statusField(status, "NoNewPrivs")); got != "yes" {
		t.Errorf("no new privileges: got %q", got)
	}
	if got := yesNo(statusField(status, "Missing")); got != "unknown" {
		t.Errorf("missing: got %q", got)
	}
}

func TestDescribeInterfaces(t *testing.T) {
	if got, want := describeInterfaces([]net.Interface{{Name: "lo"}, {Name: "eth0"}}), "2 (lo, eth0)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func cgroupFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
