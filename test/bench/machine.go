package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the figures depend on beside the contenders.
type machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	// CPU is the model; "" where the kernel does not tell.
	CPU string `json:"cpu"`
	// Cgroup is v1, hybrid or v2.
	Cgroup string `json:"cgroup"`
	// StateOnTmpfs: the runtimes' state roots are in memory.
	StateOnTmpfs bool `json:"state_on_tmpfs"`
	// Load is the load average over one minute at the beginning and the end:
	// what else the machine had to do.
	Load [2]string `json:"load"`
}

func describeMachine(stateDir string) (machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return machine{}, os.NewSyscallError("uname", err)
	}
	mode, err := cgroupMode()
	if err != nil {
		return machine{}, err
	}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	return machine{
		Kernel:       unix.ByteSliceToString(name.Release[:]),
		Arch:         runtime.GOARCH,
		CPUs:         runtime.NumCPU(),
		CPU:          cpuModel(string(cpuinfo)),
		Cgroup:       mode,
		StateOnTmpfs: onTmpfs(stateDir),
		Load:         [2]string{load(), ""},
	}, nil
}

func cgroupMode() (string, error) {
	const root = "/sys/fs/cgroup"
	var info unix.Statfs_t
	if err := unix.Statfs(root, &info); err != nil {
		return "", &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	if info.Type == unix.CGROUP2_SUPER_MAGIC {
		return "v2", nil
	}
	if err := unix.Statfs(root+"/unified", &info); err == nil && info.Type == unix.CGROUP2_SUPER_MAGIC {
		return "hybrid", nil
	}
	return "v1", nil
}

// cpuModel reads the first "model name" of /proc/cpuinfo.
func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// load returns the first field of /proc/loadavg, "?" if it cannot be read.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	first, _, ok := strings.Cut(string(text), " ")
	if err != nil || !ok {
		return "?"
	}
	return first
}

func (m machine) String() string {
	model, state := m.CPU, "on tmpfs"
	if model == "" {
		model = "unknown model"
	}
	if !m.StateOnTmpfs {
		state = "on disk"
	}
	return fmt.Sprintf("Linux %s %s, %d CPUs (%s), cgroup %s, state %s, load %s to %s",
		m.Kernel, m.Arch, m.CPUs, model, m.Cgroup, state, m.Load[0], m.Load[1])
}
