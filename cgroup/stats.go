package cgroup

// Stats are the counters of a group since it was made, children included. Its JSON form is part of the
// exit report: keys are never renamed. A nil figure is one that this kernel, this cgroup version or a
// missing controller does not give; zero is a measured zero.
type Stats struct {
	CPU      CPUStats      `json:"cpu"`
	Memory   MemoryStats   `json:"memory"`
	OOM      OOMStats      `json:"oom"`
	Pids     PidsStats     `json:"pids"`
	IO       IOStats       `json:"io"`
	Pressure PressureStats `json:"pressure"`
}

// CPUStats is CPU time in seconds and what the quota did. Periods counts enforcement periods in which
// the group was runnable; ThrottledPeriods those in which it ran out of quota.
type CPUStats struct {
	UserSeconds      *float64 `json:"user_seconds"`
	SystemSeconds    *float64 `json:"system_seconds"`
	Periods          *uint64  `json:"periods"`
	ThrottledPeriods *uint64  `json:"throttled_periods"`
	ThrottledSeconds *float64 `json:"throttled_seconds"`
}

// MemoryStats is peak use in bytes, page cache included: memory.peak (Linux 5.19) and
// memory.swap.peak (6.5) on v2. v1 has no peak of swap alone.
type MemoryStats struct {
	PeakBytes     *uint64 `json:"peak_bytes"`
	SwapPeakBytes *uint64 `json:"swap_peak_bytes"`
}

// OOMStats is what the kernel's OOM killer did inside the group. Kills counts processes. Victims is
// not filled by Group.Stats: the caller takes it from an OOMLog; nil means unknown, an empty list none.
type OOMStats struct {
	Kills   *uint64  `json:"kills"`
	Victims []Victim `json:"victims"`
}

// PidsStats is the peak number of processes and threads (pids.peak, Linux 6.1 on v2, 6.11 on v1).
type PidsStats struct {
	Peak *uint64 `json:"peak"`
}

// IOStats is bytes moved between the group and block devices, all devices together. Writes through
// the page cache are counted on v2 alone.
type IOStats struct {
	ReadBytes    *uint64 `json:"read_bytes"`
	WrittenBytes *uint64 `json:"written_bytes"`
}

// PressureStats is pressure stall information (accounting/psi.rst). v1 groups have it where the host is
// hybrid and the container is in the v2 tree too.
type PressureStats struct {
	CPU    Pressure `json:"cpu"`
	Memory Pressure `json:"memory"`
	IO     Pressure `json:"io"`
}

// Pressure is time lost to the lack of one resource: Some while at least one task waited, Full while
// all did.
type Pressure struct {
	SomeSeconds *float64 `json:"some_seconds"`
	FullSeconds *float64 `json:"full_seconds"`
}

// EffectiveLimits are the limits that hold for a group, read back from the kernel, the tightest one of
// the group and of the groups above it. nil is unlimited or unknown; Cpuset is the CPUs that the
// group may run on even where nobody restricted them.
type EffectiveLimits struct {
	MemoryBytes     *int64           `json:"memory_bytes"`
	MemorySwapBytes *int64           `json:"memory_swap_bytes"`
	CPUs            *float64         `json:"cpus"`
	Cpuset          *string          `json:"cpuset"`
	Pids            *int64           `json:"pids"`
	IOMax           []EffectiveIOMax `json:"io_max"`
}

// EffectiveIOMax is the I/O limit of one device as the kernel reports it; nil rates are unlimited.
type EffectiveIOMax struct {
	Device string  `json:"device"` // major:minor
	RBps   *uint64 `json:"rbps"`
	WBps   *uint64 `json:"wbps"`
	RIOps  *uint64 `json:"riops"`
	WIOps  *uint64 `json:"wiops"`
}

// Victim is a process that the OOM killer ended. Pid is its id in the first PID namespace of the
// host; Comm its name, up to 15 bytes of the victim's own choosing: escape it before printing.
type Victim struct {
	Pid  int    `json:"pid"`
	Comm string `json:"comm"`
}
