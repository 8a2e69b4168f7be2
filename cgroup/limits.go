package cgroup

import (
	"time"
)

// Unlimited is the value of a size or a number of processes without a bound, as in the OCI spec.
const Unlimited = -1

// Limits are the limits of one sandbox as people give them, on the command line or in a limit file.
// A nil pointer, an empty string, a nil slice and a zero duration mean "not set". It is a plain value;
// methods change neither receiver nor argument unless they say so.
type Limits struct {
	// MemoryBytes bounds memory, in bytes; Unlimited for none.
	MemoryBytes *int64
	// MemorySwapBytes bounds memory and swap together, in bytes, as `docker run --memory-swap` and
	// the OCI spec mean it; Unlimited for none. When only MemoryBytes is set, swap is left as the
	// kernel has it (unbounded on both cgroup versions), as runc does; docker would set twice the
	// memory instead.
	MemorySwapBytes *int64
	// CPUs bounds CPU time, in CPUs: 0.5 is half of one CPU.
	CPUs *float64
	// Cpuset names the CPUs that may be used, as in "0-2,7".
	Cpuset string
	// Pids bounds the number of processes and threads; Unlimited for none.
	Pids *int64
	// IOMax bounds I/O on block devices, at most one entry a device.
	IOMax []IOMax
	// WallTime and CPUTime end the sandbox when they are used up. The kernel has no such limits: the
	// supervisor enforces them.
	WallTime time.Duration
	CPUTime  time.Duration
}

// IOMax bounds the I/O of a sandbox on one block device. A nil rate is unbounded.
type IOMax struct {
	// Device is the path of a device node ("/dev/sda") or "major:minor".
	Device string
	RBps   *uint64 // bytes read a second
	WBps   *uint64 // bytes written a second
	RIOps  *uint64 // read operations a second
	WIOps  *uint64 // write operations a second
}

// Over returns base with everything that l sets in place of base's values. IOMax is merged by device
// and rate: "/dev/sda:rbps=1M" over "/dev/sda:wbps=2M" sets both.
func (l Limits) Over(base Limits) Limits {
	out := base
	if l.MemoryBytes != nil {
		out.MemoryBytes = l.MemoryBytes
	}
	if l.MemorySwapBytes != nil {
		out.MemorySwapBytes = l.MemorySwapBytes
	}
	if l.CPUs != nil {
		out.CPUs = l.CPUs
	}
	if l.Cpuset != "" {
		out.Cpuset = l.Cpuset
	}
	if l.Pids != nil {
		out.Pids = l.Pids
	}
	if l.WallTime != 0 {
		out.WallTime = l.WallTime
	}
	if l.CPUTime != 0 {
		out.CPUTime = l.CPUTime
	}
	out.IOMax = nil
	for _, io := range base.IOMax {
		out.IOMax = addIOMax(out.IOMax, io)
	}
	for _, io := range l.IOMax {
		out.IOMax = addIOMax(out.IOMax, io)
	}
	return out
}

// addIOMax adds io to list; a device that is in it already keeps the rates that io doesn't set.
func addIOMax(list []IOMax, io IOMax) []IOMax {
	for i := range list {
		if list[i].Device == io.Device {
			list[i] = io.over(list[i])
			return list
		}
	}
	return append(list, io)
}

func (io IOMax) over(base IOMax) IOMax {
	pick := func(over, under *uint64) *uint64 {
		if over != nil {
			return over
		}
		return under
	}
	return IOMax{
		Device: io.Device,
		RBps:   pick(io.RBps, base.RBps),
		WBps:   pick(io.WBps, base.WBps),
		RIOps:  pick(io.RIOps, base.RIOps),
		WIOps:  pick(io.WIOps, base.WIOps),
	}
}
