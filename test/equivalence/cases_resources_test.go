package equivalence_test

import (
	"fmt"
	"os"
	"regexp"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// reading runs a program that stays, and prints the limits on the host.
const reading = "up; limits"

func resourceCases() group {
	limit := func(edit func(*specs.LinuxResources)) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			edit(spec.Linux.Resources)
		}
	}
	memory := func(m specs.LinuxMemory) func(*specs.Spec, *trial) {
		return limit(func(r *specs.LinuxResources) { r.Memory = &m })
	}
	cpu := func(c specs.LinuxCPU) func(*specs.Spec, *trial) {
		return limit(func(r *specs.LinuxResources) { r.CPU = &c })
	}
	path := func(suffix string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			if spec.Linux.CgroupsPath = suffix; suffix != "" {
				spec.Linux.CgroupsPath = suffix + tr.id
			}
		}
	}
	const m = 1 << 20
	return group{"limits", "cgroup limits as the kernel has them, and where the cgroup is", []testCase{
		{name: "none", edit: idle(), script: reading},
		{name: "memory", edit: memory(specs.LinuxMemory{Limit: ptr(int64(64 * m))}), script: reading},
		{name: "memory unlimited", edit: memory(specs.LinuxMemory{Limit: ptr(int64(-1))}), script: reading},
		{name: "memory reservation", edit: memory(specs.LinuxMemory{Limit: ptr(int64(64 * m)), Reservation: ptr(int64(32 * m))}), script: reading},
		{name: "memory and swap", edit: memory(specs.LinuxMemory{Limit: ptr(int64(64 * m)), Swap: ptr(int64(64 * m))}), script: reading},
		{name: "memory swappiness", edit: memory(specs.LinuxMemory{Swappiness: ptr(uint64(10))}), script: reading},
		{name: "memory swappiness out of range", edit: memory(specs.LinuxMemory{Swappiness: ptr(uint64(1000))}), script: reading},
		{name: "memory without OOM killer", edit: memory(specs.LinuxMemory{Limit: ptr(int64(64 * m)), DisableOOMKiller: ptr(true)}), script: reading},
		{name: "memory of the kernel", edit: memory(specs.LinuxMemory{Kernel: ptr(int64(64 * m))}), script: reading}, //nolint:staticcheck // SA1019: deprecated, but bundles have it
		{name: "memory too low to start", edit: memory(specs.LinuxMemory{Limit: ptr(int64(4096))}), script: "up; limits"},
		{name: "memory used up", edit: func(spec *specs.Spec, _ *trial) {
			spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(32 * m))}
			spec.Process.Args = []string{"workload", "hog", "200M"}
		}},
		{name: "cpu shares", edit: cpu(specs.LinuxCPU{Shares: ptr(uint64(512))}), script: reading},
		{name: "cpu quota", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}), script: reading},
		{name: "cpu quota without period", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(30000))}), script: reading},
		{name: "cpu period without quota", edit: cpu(specs.LinuxCPU{Period: ptr(uint64(50000))}), script: reading},
		{name: "cpu quota unlimited", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(-1))}), script: reading},
		{name: "cpu burst", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Burst: ptr(uint64(20000))}), script: reading},
		{name: "cpu burst above quota", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(50000)), Burst: ptr(uint64(90000))}), script: reading},
		{name: "cpu idle", edit: cpu(specs.LinuxCPU{Idle: ptr(int64(1))}), script: reading},
		{name: "cpu quota too small", edit: cpu(specs.LinuxCPU{Quota: ptr(int64(5))}), script: reading},
		{name: "cpu period too long", edit: cpu(specs.LinuxCPU{Period: ptr(uint64(9000000))}), script: reading},
		{name: "cpuset", edit: cpu(specs.LinuxCPU{Cpus: "0", Mems: "0"}), script: reading},
		{name: "cpuset seen inside", edit: func(spec *specs.Spec, _ *trial) {
			spec.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1"}
			spec.Process.Args = []string{"grep", "allowed_list", "/proc/self/status"}
		}},
		{name: "cpuset of a CPU that is not there", edit: cpu(specs.LinuxCPU{Cpus: "4000"}), script: reading},
		{name: "cpuset unreadable", edit: cpu(specs.LinuxCPU{Cpus: "one"}), script: reading},
		{name: "pids", edit: limit(func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(17))} }), script: reading},
		{name: "pids unlimited", edit: limit(func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(-1))} }), script: reading},
		{name: "pids zero", edit: limit(func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: ptr(int64(0))} }), script: reading},
		{name: "pids used up", edit: func(spec *specs.Spec, _ *trial) {
			spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(20))}
			spec.Process.Args = []string{"sh", "-c", "workload fork 50; echo $?"}
		}, normalise: []pattern{{regexp.MustCompile(`started \d+`), "started N"}}},
		{name: "block weight", edit: limit(func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(500))} }), script: reading},
		{name: "block rate", edit: limit(func(r *specs.LinuxResources) {
			major, minor := blockDevice()
			device := specs.LinuxThrottleDevice{Rate: m}
			device.Major, device.Minor = major, minor
			r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{device}}
		}), script: reading},
		{name: "block rate of no device", edit: limit(func(r *specs.LinuxResources) {
			device := specs.LinuxThrottleDevice{Rate: m}
			device.Major, device.Minor = 4000, 1
			r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}}
		}), script: reading},
		{name: "huge pages of an unknown size", edit: limit(func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: m}}
		}), script: reading},
		{name: "network class without its controller", edit: limit(func(r *specs.LinuxResources) { r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(7))} }), script: reading},
		{name: "rdma without its controller", edit: limit(func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(3))}}
		}), script: reading},
		{name: "unified keys without cgroup v2", edit: limit(func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.high": "1000000"} }), script: reading},
		{name: "devices", edit: limit(func(r *specs.LinuxResources) {
			r.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "rw"},
				{Allow: true, Type: "b", Major: ptr(int64(7)), Access: "r"}}
		}), script: reading},
		{name: "devices all", edit: limit(func(r *specs.LinuxResources) { r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}} }), script: reading},
		{name: "devices without rules", edit: limit(func(r *specs.LinuxResources) { r.Devices = nil }), script: reading},
		{name: "no resources", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Linux.Resources = nil
		}, script: reading},
		{name: "path by default", edit: path(""), script: reading},
		{name: "path below another", edit: path("/sandboxrun-" + shared.nonce + "-parent-"), script: reading},
		{name: "path relative", edit: path("sandboxrun-"), script: reading},
		{name: "path with dots", edit: func(spec *specs.Spec, tr *trial) {
			idle()(spec, tr)
			spec.Linux.CgroupsPath = "/../../" + tr.id + "/./x/.."
		}, script: reading},
		{name: "gone with the container", edit: program("true"), script: `code rt run -b bundle "$ID"; limits`},
		{name: "gone with a deleted container", edit: idle(), script: `up; rt kill "$ID" KILL; gone; code rt delete "$ID"; limits; status 2>/dev/null`},
	}}
}

// blockDevice is a whole disk of this machine.
func blockDevice() (major, minor int64) {
	entries, _ := os.ReadDir("/sys/block")
	for _, entry := range entries {
		text, err := os.ReadFile("/sys/block/" + entry.Name() + "/dev")
		if err != nil {
			continue
		}
		if a, b, ok := numbers(string(text)); ok {
			return a, b
		}
	}
	return 0, 0
}

func deviceCases() group {
	device := func(kind, path string, major, minor int64, edit func(*specs.LinuxDevice)) func(*specs.Spec, *trial) {
		d := specs.LinuxDevice{Path: path, Type: kind, Major: major, Minor: minor}
		if edit != nil {
			edit(&d)
		}
		return change(func(s *specs.Spec) { s.Linux.Devices = append(s.Linux.Devices, d) })
	}
	try := func(edit func(*specs.Spec, *trial), script string) func(*specs.Spec, *trial) {
		return func(spec *specs.Spec, tr *trial) {
			edit(spec, tr)
			spec.Process.Args = []string{"sh", "-c", script}
		}
	}
	none := func(*specs.Spec, *trial) {}
	return group{"devices", "device nodes and what may be done with them", []testCase{
		{name: "character device", edit: device("c", "/dev/fuse", 10, 229, nil)},
		{name: "character device with owner and mode", edit: device("c", "/dev/extra", 1, 5, func(d *specs.LinuxDevice) {
			d.FileMode, d.UID, d.GID = ptr(os.FileMode(0o640)), ptr(uint32(1000)), ptr(uint32(50))
		})},
		{name: "block device", edit: device("b", "/dev/disk/loop", 7, 0, nil)},
		{name: "fifo", edit: device("p", "/dev/fifo", 0, 0, nil)},
		{name: "unbuffered device", edit: device("u", "/dev/raw", 1, 3, nil)},
		{name: "type unknown", edit: device("x", "/dev/what", 1, 3, nil)},
		{name: "relative path", edit: try(device("c", "dev/what", 1, 3, nil), "ls /dev/what")},
		{name: "outside of dev", edit: func(spec *specs.Spec, tr *trial) {
			spec.Root.Readonly = false
			device("c", "/data/null", 1, 3, nil)(spec, tr)
			spec.Process.Args = []string{"stat", "-c", "%n %F %a %u:%g %t:%T", "/data/null"}
		}},
		{name: "one of the defaults again", edit: device("c", "/dev/null", 1, 3, func(d *specs.LinuxDevice) { d.FileMode = ptr(os.FileMode(0o600)) })},
		{name: "in a user namespace", edit: func(spec *specs.Spec, tr *trial) {
			withUserNamespace(spec)
			device("c", "/dev/full2", 1, 7, nil)(spec, tr)
		}},
		{name: "default devices work", edit: try(none, "echo x >/dev/null && head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x >/dev/full; echo $?")},
		{name: "another device may not be opened", edit: try(func(spec *specs.Spec, tr *trial) {
			device("c", "/dev/kmsg2", 1, 11, nil)(spec, tr)
		}, "head -c 1 /dev/kmsg2 | wc -c; echo $?")},
		{name: "mknod", edit: try(process(func(p *specs.Process) { p.Capabilities = capabilities("CAP_MKNOD") }),
			"mknod /dev/shm/a c 1 3; echo $?; mknod /dev/shm/b b 7 0; echo $?; echo x >/dev/shm/a; echo $?")},
		{name: "a device of the program's own by rule", edit: func(spec *specs.Spec, tr *trial) {
			device("c", "/dev/kmsg2", 1, 11, nil)(spec, tr)
			spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(11)), Access: "w"})
			spec.Process.Args = []string{"sh", "-c", "head -c 1 /dev/kmsg2 | wc -c; exec 3>/dev/kmsg2; echo $?"}
		}},
	}}
}

func numbers(text string) (a, b int64, ok bool) {
	n, err := fmt.Sscanf(text, "%d:%d", &a, &b)
	return a, b, err == nil && n == 2
}
