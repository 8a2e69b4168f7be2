package bundles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources checks the values. Which controllers this host has is the business of
// package cgroup.
func (v *validation) resources(r *specs.LinuxResources) {
	if r == nil {
		return
	}
	const at = "linux.resources"
	for i, rule := range r.Devices {
		v.deviceRule(index(at+".devices", i), rule)
	}
	v.memory(at+".memory", r.Memory)
	v.cpu(at+".cpu", r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit < -1 {
		v.add(at+".pids.limit", "must be a number of tasks, or -1 for no limit, not %d", *r.Pids.Limit)
	}
	v.blockIO(at+".blockIO", r.BlockIO)
	for i, huge := range r.HugepageLimits {
		if !validPageSize(huge.Pagesize) {
			v.add(fmt.Sprintf("%s.hugepageLimits[%d].pageSize", at, i), "must be a size such as \"2MB\" or \"1GB\", not %q", huge.Pagesize)
		}
	}
	for _, file := range sortedKeys(r.Unified) {
		at := joinKey(at+".unified", file)
		// It becomes a file name in the sandbox's cgroup.
		if file == "" || strings.ContainsAny(file, "/\x00") || !strings.Contains(file, ".") {
			v.add(at, "must be a file of a cgroup v2 controller such as \"memory.high\"")
		}
		v.noNull(at, r.Unified[file])
	}
}

func (v *validation) deviceRule(at string, rule specs.LinuxDeviceCgroup) {
	if !slices.Contains([]string{"", "a", "b", "c"}, rule.Type) {
		v.add(at+".type", "must be one of a, b, c, not %q", rule.Type)
	}
	if rule.Access == "" || strings.Trim(rule.Access, "rwm") != "" {
		v.add(at+".access", "must be letters of \"rwm\", not %q", rule.Access)
	}
	if major := valueOr(rule.Major, 0); major < -1 {
		v.add(at+".major", "must be a device number, or -1 for all, not %d", major)
	}
	if minor := valueOr(rule.Minor, 0); minor < -1 {
		v.add(at+".minor", "must be a device number, or -1 for all, not %d", minor)
	}
}

func (v *validation) memory(at string, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	for _, each := range []struct {
		name  string
		value *int64
	}{{"limit", m.Limit}, {"reservation", m.Reservation}, {"swap", m.Swap}} {
		if each.value != nil && *each.value < -1 {
			v.add(at+"."+each.name, "must be a number of bytes, or -1 for no limit, not %d", *each.value)
		}
	}
	limit, swap := valueOr(m.Limit, 0), valueOr(m.Swap, 0)
	switch {
	case swap > 0 && limit > 0 && swap < limit:
		v.add(at+".swap", "must be at least the memory limit %d, not %d: it is the sum of memory and swap", limit, swap)
	case swap > 0 && limit <= 0:
		v.add(at+".swap", "needs linux.resources.memory.limit: it is the sum of memory and swap")
	}
	if m.Swappiness != nil && *m.Swappiness > 100 {
		v.add(at+".swappiness", "must be from 0 to 100, not %d", *m.Swappiness)
	}
}

func (v *validation) cpu(at string, c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	// Documentation/scheduler/sched-bwc.rst: 1 ms is the least of both, 1 s the
	// longest period. 0 and a negative quota mean "not set" and "no limit".
	const least, longest = 1_000, 1_000_000
	if quota := valueOr(c.Quota, 0); quota > 0 && quota < least {
		v.add(at+".quota", "must be at least %d microseconds, or -1 for no limit, not %d", least, quota)
	}
	if period := valueOr(c.Period, 0); period != 0 && (period < least || period > longest) {
		v.add(at+".period", "must be from %d to %d microseconds, not %d", least, longest, period)
	}
	if burst, quota := valueOr(c.Burst, 0), valueOr(c.Quota, 0); burst > 0 && quota > 0 && burst > uint64(quota) {
		v.add(at+".burst", "must be at most the quota %d, not %d", quota, burst)
	}
	if c.Idle != nil && *c.Idle != 0 && *c.Idle != 1 {
		v.add(at+".idle", "must be 0 or 1, not %d", *c.Idle)
	}
	v.numberList(at+".cpus", c.Cpus)
	v.numberList(at+".mems", c.Mems)
}

func (v *validation) blockIO(at string, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	v.ioWeight(at+".weight", b.Weight)
	v.ioWeight(at+".leafWeight", b.LeafWeight)
	for i, device := range b.WeightDevice {
		at := index(at+".weightDevice", i)
		v.ioWeight(at+".weight", device.Weight)
		v.ioWeight(at+".leafWeight", device.LeafWeight)
		v.blockDevice(at, device.LinuxBlockIODevice)
	}
	for _, throttle := range []struct {
		name    string
		devices []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice},
	} {
		for i, device := range throttle.devices {
			v.blockDevice(index(at+"."+throttle.name, i), device.LinuxBlockIODevice)
		}
	}
}

func (v *validation) blockDevice(at string, device specs.LinuxBlockIODevice) {
	v.deviceNumber(at+".major", device.Major)
	v.deviceNumber(at+".minor", device.Minor)
}

func (v *validation) ioWeight(at string, weight *uint16) {
	if weight != nil && *weight != 0 && (*weight < 10 || *weight > 1000) {
		v.add(at, "must be from 10 to 1000, not %d", *weight)
	}
}

// numberList checks the "List format" of cpuset(7): 0-3,8,10-11. Empty is no list.
func (v *validation) numberList(at, list string) {
	if list == "" {
		return
	}
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(low, 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil || last < first {
			v.add(at, "must be a list such as \"0-3,8\", not %q", list)
			return
		}
	}
}

// validPageSize tells whether size is digits and one of the kernel's units
// (hugetlb_cgroup.c, mem_fmt).
func validPageSize(size string) bool {
	for _, unit := range []string{"KB", "MB", "GB"} {
		if digits, ok := strings.CutSuffix(size, unit); ok {
			n, err := strconv.ParseUint(digits, 10, 32)
			return err == nil && n > 0 && digits[0] != '0'
		}
	}
	return false
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
