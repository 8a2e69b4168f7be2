package cgroup

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// demand is one limit of a spec and what it takes to enforce it.
type demand struct {
	// limit is the JSON path in the spec.
	limit string
	// v1 and v2 are the controllers' names; "" where that version has no such limit.
	v1, v2 string
	// v1File and v2File, where not "", are in a group's directory only if the kernel was built or booted
	// with that part of the controller.
	v1File, v2File string
	// needsRoot exempts the limit from checks of rootless containers.
	needsRoot bool
	// drop takes the limit out of the spec.
	drop func()
}

// demands lists the limits that r sets, in the spec's order.
func demands(r *specs.LinuxResources) []demand {
	var list []demand
	if len(r.Devices) > 0 {
		// On v2 a BPF program does it and no controller is needed. A rootless container can make no
		// device nodes, and libcontainer sets no rules for it.
		list = append(list, demand{limit: "linux.resources.devices", v1: "devices", v2: noController, needsRoot: true,
			drop: func() { r.Devices = nil }})
	}
	if r.Memory != nil {
		list = append(list, memoryDemands(r.Memory)...)
	}
	if r.CPU != nil {
		list = append(list, cpuDemands(r.CPU)...)
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		list = append(list, demand{limit: "linux.resources.pids.limit", v1: "pids", v2: "pids", drop: func() { r.Pids = nil }})
	}
	if r.BlockIO != nil {
		list = append(list, blockIODemands(r.BlockIO)...)
	}
	if len(r.HugepageLimits) > 0 {
		list = append(list, demand{limit: "linux.resources.hugepageLimits", v1: "hugetlb", v2: "hugetlb",
			drop: func() { r.HugepageLimits = nil }})
	}
	if r.Network != nil && r.Network.ClassID != nil && *r.Network.ClassID != 0 {
		list = append(list, demand{limit: "linux.resources.network.classID", v1: "net_cls",
			drop: func() { r.Network.ClassID = nil }})
	}
	if r.Network != nil && len(r.Network.Priorities) > 0 {
		list = append(list, demand{limit: "linux.resources.network.priorities", v1: "net_prio",
			drop: func() { r.Network.Priorities = nil }})
	}
	if len(r.Rdma) > 0 {
		list = append(list, demand{limit: "linux.resources.rdma", v1: "rdma", v2: "rdma", drop: func() { r.Rdma = nil }})
	}
	for _, file := range slices.Sorted(maps.Keys(r.Unified)) {
		controller, _, _ := strings.Cut(file, ".")
		if controller == "cgroup" {
			controller = noController
		}
		list = append(list, demand{limit: "linux.resources.unified." + file, v2: controller,
			drop: func() { dropUnified(r, file) }})
	}
	return list
}

// noController is what a limit needs that the kernel enforces without a controller.
const noController = "-"

func memoryDemands(m *specs.LinuxMemory) []demand {
	var list []demand
	add := func(isSet bool, name, v2, v1File string, drop func()) {
		if isSet {
			list = append(list, demand{limit: "linux.resources.memory." + name, v1: "memory", v2: v2, v1File: v1File, drop: drop})
		}
	}
	// The runtime spec's readers take zero for "not set".
	add(isSet(m.Limit), "limit", "memory", "", func() { m.Limit = nil })
	add(isSet(m.Reservation), "reservation", "memory", "", func() { m.Reservation = nil })
	if isSet(m.Swap) {
		list = append(list, demand{limit: "linux.resources.memory.swap", v1: "memory", v2: "memory",
			v1File: "memory.memsw.limit_in_bytes", v2File: "memory.swap.max", drop: func() { m.Swap = nil }})
	}
	add(m.Swappiness != nil, "swappiness", "", "memory.swappiness", func() { m.Swappiness = nil })
	add(m.DisableOOMKiller != nil && *m.DisableOOMKiller, "disableOOMKiller", "", "memory.oom_control",
		func() { m.DisableOOMKiller = nil })
	return list
}

func cpuDemands(c *specs.LinuxCPU) []demand {
	var list []demand
	add := func(isSet bool, name, controller, v2, v1File string, drop func()) {
		if isSet {
			list = append(list, demand{limit: "linux.resources.cpu." + name, v1: controller, v2: v2, v1File: v1File, drop: drop})
		}
	}
	add(isSet(c.Shares), "shares", "cpu", "cpu", "", func() { c.Shares = nil })
	add(isSet(c.Quota), "quota", "cpu", "cpu", "cpu.cfs_quota_us", func() { c.Quota = nil })
	add(isSet(c.Burst), "burst", "cpu", "cpu", "cpu.cfs_burst_us", func() { c.Burst = nil })
	add(isSet(c.Period), "period", "cpu", "cpu", "cpu.cfs_quota_us", func() { c.Period = nil })
	add(isSet(c.RealtimeRuntime), "realtimeRuntime", "cpu", "", "cpu.rt_runtime_us", func() { c.RealtimeRuntime = nil })
	add(isSet(c.RealtimePeriod), "realtimePeriod", "cpu", "", "cpu.rt_runtime_us", func() { c.RealtimePeriod = nil })
	add(c.Cpus != "", "cpus", "cpuset", "cpuset", "", func() { c.Cpus = "" })
	add(c.Mems != "", "mems", "cpuset", "cpuset", "", func() { c.Mems = "" })
	add(c.Idle != nil, "idle", "cpu", "cpu", "cpu.idle", func() { c.Idle = nil })
	return list
}

func blockIODemands(b *specs.LinuxBlockIO) []demand {
	var list []demand
	add := func(isSet bool, name string, drop func()) {
		if isSet {
			list = append(list, demand{limit: "linux.resources.blockIO." + name, v1: "blkio", v2: "io", drop: drop})
		}
	}
	add(isSet(b.Weight), "weight", func() { b.Weight = nil })
	add(len(b.WeightDevice) > 0, "weightDevice", func() { b.WeightDevice = nil })
	add(len(b.ThrottleReadBpsDevice) > 0, "throttleReadBpsDevice", func() { b.ThrottleReadBpsDevice = nil })
	add(len(b.ThrottleWriteBpsDevice) > 0, "throttleWriteBpsDevice", func() { b.ThrottleWriteBpsDevice = nil })
	add(len(b.ThrottleReadIOPSDevice) > 0, "throttleReadIOPSDevice", func() { b.ThrottleReadIOPSDevice = nil })
	add(len(b.ThrottleWriteIOPSDevice) > 0, "throttleWriteIOPSDevice", func() { b.ThrottleWriteIOPSDevice = nil })
	return list
}

func isSet[T int64 | uint64 | uint16](p *T) bool { return p != nil && *p != 0 }
