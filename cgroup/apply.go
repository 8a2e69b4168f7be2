package cgroup

import (
	"fmt"
	"math"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	// cpuPeriod is the period of the CPU quota in microseconds, the kernel's default.
	cpuPeriod = 100_000
	// minMemory is one page on the machines we run on; the kernel rounds down, so that less is zero.
	minMemory = 4096
)

// Apply sets the limits in r over what r has and leaves the rest of r alone. Entries of r.Unified for
// the same cgroup v2 file go, because runtimes write those last and they would win. It looks device
// paths and CPU numbers up on this host; WallTime and CPUTime have no place in a spec. Each error says
// what contradicts what, wraps ErrInvalidLimit and leaves r as it was.
func (l Limits) Apply(r *specs.LinuxResources) error {
	out := *r
	for _, apply := range []func(*specs.LinuxResources) error{
		l.applyMemory, l.applyCPU, l.applyPids, l.applyIO,
	} {
		if err := apply(&out); err != nil {
			return err
		}
	}
	*r = out
	return nil
}

func (l Limits) applyMemory(r *specs.LinuxResources) error {
	if l.MemoryBytes == nil && l.MemorySwapBytes == nil {
		return nil
	}
	memory := cloneOf(r.Memory)
	if l.MemoryBytes != nil {
		limit := *l.MemoryBytes
		if limit != Unlimited && limit < minMemory {
			return invalidf("cannot limit memory to %d bytes: the kernel counts pages of %d bytes; give at least one", limit, minMemory)
		}
		memory.Limit = &limit
		dropUnified(r, "memory.max")
	}
	if l.MemorySwapBytes != nil {
		swap := *l.MemorySwapBytes
		if swap != Unlimited && swap < minMemory {
			return invalidf("cannot limit memory and swap to %d bytes: the kernel counts pages of %d bytes; give at least one", swap, minMemory)
		}
		memory.Swap = &swap
		dropUnified(r, "memory.swap.max")
	}
	r.Memory = memory
	return checkSwap(memory)
}

// checkSwap refuses what no kernel can enforce: both versions need a memory limit below a limit on
// memory and swap.
func checkSwap(memory *specs.LinuxMemory) error {
	if memory.Swap == nil || *memory.Swap <= 0 {
		return nil
	}
	if memory.Limit == nil || *memory.Limit <= 0 {
		return invalidf("cannot limit memory and swap to %d bytes without a memory limit; set the memory limit too", *memory.Swap)
	}
	if *memory.Swap < *memory.Limit {
		return invalidf("cannot limit memory and swap together to %d bytes: memory alone is limited to %d; raise the former (the same number means no swap) or lower the latter",
			*memory.Swap, *memory.Limit)
	}
	return nil
}

func (l Limits) applyCPU(r *specs.LinuxResources) error {
	if l.CPUs == nil && l.Cpuset == "" {
		return nil
	}
	cpu := cloneOf(r.CPU)
	if l.CPUs != nil {
		if *l.CPUs < minCPUs || *l.CPUs > maxCPUNumber+1 {
			return invalidf("cannot limit CPU time to %v CPUs: the kernel takes 0.01 to 8192", *l.CPUs)
		}
		quota, period := int64(math.Round(*l.CPUs*cpuPeriod)), uint64(cpuPeriod)
		cpu.Quota, cpu.Period = &quota, &period
		if cpu.Burst != nil && *cpu.Burst > uint64(quota) {
			return invalidf("cannot limit CPU time to %v CPUs: linux.resources.cpu.burst is %d µs, more than the quota of %d µs; lower the burst",
				*l.CPUs, *cpu.Burst, quota)
		}
		dropUnified(r, "cpu.max")
	}
	if l.Cpuset != "" {
		if err := checkCpuset(l.Cpuset); err != nil {
			return err
		}
		cpu.Cpus = l.Cpuset
		dropUnified(r, "cpuset.cpus")
	}
	r.CPU = cpu
	return nil
}

// checkCpuset refuses CPUs that are not online: cgroup v2 takes such a set and silently lets the group
// run on its parent's CPUs instead.
func checkCpuset(list string) error {
	text, err := readFile("/sys/devices/system/cpu/online")
	if err != nil {
		return fmt.Errorf("read which CPUs are online: %w", err)
	}
	online := strings.TrimSpace(text)
	var have [maxCPUNumber + 1]bool
	if err := eachCPU(online, func(cpu int) { have[cpu] = true }); err != nil {
		return fmt.Errorf("read which CPUs are online: %w", err)
	}
	missing := -1
	err = eachCPU(list, func(cpu int) {
		if !have[cpu] && missing < 0 {
			missing = cpu
		}
	})
	if err != nil {
		return err
	}
	if missing >= 0 {
		return invalidf("cannot restrict to CPUs %s: CPU %d isn't online here; choose from %s", list, missing, online)
	}
	return nil
}

func (l Limits) applyPids(r *specs.LinuxResources) error {
	if l.Pids == nil {
		return nil
	}
	limit := *l.Pids
	if limit != Unlimited && (limit < 1 || limit > maxPids) {
		return invalidf("cannot limit processes to %d; give 1 to %d, or -1 for no limit", limit, maxPids)
	}
	r.Pids = &specs.LinuxPids{Limit: &limit}
	dropUnified(r, "pids.max")
	return nil
}

func (l Limits) applyIO(r *specs.LinuxResources) error {
	if len(l.IOMax) == 0 {
		return nil
	}
	block := cloneOf(r.BlockIO)
	for _, io := range l.IOMax {
		major, minor, err := lookUpDevice(io.Device)
		if err != nil {
			return err
		}
		block.ThrottleReadBpsDevice = setThrottle(block.ThrottleReadBpsDevice, major, minor, io.RBps)
		block.ThrottleWriteBpsDevice = setThrottle(block.ThrottleWriteBpsDevice, major, minor, io.WBps)
		block.ThrottleReadIOPSDevice = setThrottle(block.ThrottleReadIOPSDevice, major, minor, io.RIOps)
		block.ThrottleWriteIOPSDevice = setThrottle(block.ThrottleWriteIOPSDevice, major, minor, io.WIOps)
	}
	r.BlockIO = block
	dropUnified(r, "io.max")
	return nil
}

// lookUpDevice returns the numbers of a whole disk given as a path or major:minor. The kernel throttles
// no partitions (ENODEV from blkg_conf_open_bdev).
func lookUpDevice(device string) (major, minor uint32, err error) {
	major, minor, numbers := parseDeviceNumbers(device)
	if !numbers {
		var st unix.Stat_t
		if err := unix.Stat(device, &st); err != nil {
			return 0, 0, invalidf("cannot limit I/O on %s: %s; name a block device such as /dev/sda", device, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return 0, 0, invalidf("cannot limit I/O on %s: it is no block device; name the disk that holds the data (see lsblk)", device)
		}
		major, minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	entry := fmt.Sprintf("/sys/dev/block/%d:%d", major, minor)
	if unix.Access(entry, unix.F_OK) != nil {
		return 0, 0, invalidf("cannot limit I/O on %s: this host has no block device %d:%d (see lsblk)", device, major, minor)
	}
	if unix.Access(entry+"/partition", unix.F_OK) == nil {
		return 0, 0, invalidf("cannot limit I/O on %s: it is a partition and the kernel limits whole disks; name the disk (see lsblk)", device)
	}
	return major, minor, nil
}

// setThrottle returns a copy of list with one device's rate replaced; a nil rate changes nothing.
func setThrottle(list []specs.LinuxThrottleDevice, major, minor uint32, rate *uint64) []specs.LinuxThrottleDevice {
	if rate == nil {
		return list
	}
	out := make([]specs.LinuxThrottleDevice, 0, len(list)+1)
	for _, device := range list {
		if device.Major != int64(major) || device.Minor != int64(minor) {
			out = append(out, device)
		}
	}
	device := specs.LinuxThrottleDevice{Rate: *rate}
	device.Major, device.Minor = int64(major), int64(minor)
	return append(out, device)
}

// cloneOf returns a shallow copy, of the zero value for nil, so that a failing Apply changes nothing.
func cloneOf[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	c := *p
	return &c
}

// dropUnified removes one file's entry from a copy of r.Unified.
func dropUnified(r *specs.LinuxResources, file string) {
	if _, ok := r.Unified[file]; !ok {
		return
	}
	kept := make(map[string]string, len(r.Unified))
	for key, value := range r.Unified {
		if key != file {
			kept[key] = value
		}
	}
	r.Unified = kept
	if len(kept) == 0 {
		r.Unified = nil
	}
}
