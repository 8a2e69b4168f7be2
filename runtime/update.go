package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// UpdateOptions says which limits of a container to change.
type UpdateOptions struct {
	// Resources holds the new limits in the form of a spec. What it does not
	// set stays as it is. As with runc, memory, cpu, pids, blockIO, hugepage
	// limits and unified can be changed; devices, network, rdma and the rest
	// of memory cannot, and are ignored, since engines send all resources back.
	Resources specs.LinuxResources
	// L3CacheSchema and MemBwSchema replace those of linux.intelRdt; "" keeps.
	L3CacheSchema string
	MemBwSchema   string
}

// updateLock, in the container's state directory, keeps two updates apart: each
// reads the saved limits, changes and saves them.
const updateLock = "update.lock"

// Update changes the limits of a container that has not stopped, and saves them
// with its state. Where the kernel refuses one of them, all are set back. With
// memory.checkBeforeUpdate, a memory limit below the present use is refused.
// The error wraps ErrNotRunning if the container has stopped.
func (c *Container) Update(ctx context.Context, opts UpdateOptions) error {
	lock, err := lockfile.Acquire(ctx, filepath.Join(c.runtime.stateDir(c.id), updateLock))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("update container %q: %w", c.id, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("wait for another update of container %q: %w", c.id, err)
	}
	err = c.updateLocked(opts)
	return errors.Join(err, lock.Release())
}

func (c *Container) updateLocked(opts UpdateOptions) error {
	if group, err := c.openGroup(); err == nil && group == nil {
		return c.explainNoCgroup("update", ErrNoCgroup)
	}
	fresh, err := c.runtime.Load(c.id)
	if err != nil {
		return err
	}
	config := fresh.lc.Config()
	// A copy, since libcontainer sets the old ones back after a failure.
	group := *config.Cgroups
	group.Resources = cloneResources(config.Cgroups.Resources)
	config.Cgroups = &group
	mergeResources(group.Resources, &opts.Resources)
	if err := mergeRDT(&config, opts); err != nil {
		return fmt.Errorf("cannot update container %q: %w", c.id, err)
	}
	// Device rules are not ours to repeat: others, such as a GPU's plugin, may
	// have added to them. And a pause must not be undone or repeated.
	group.SkipDevices = true
	group.Freezer = cgroups.Undefined
	if err := fresh.lc.Set(config); err != nil {
		return c.explainNoCgroup("update", fmt.Errorf("update container %q: %w", c.id, err))
	}
	return nil
}

func cloneResources(r *cgroups.Resources) *cgroups.Resources {
	clone := *r
	clone.BlkioWeightDevice = cloneAll(r.BlkioWeightDevice)
	clone.BlkioThrottleReadBpsDevice = cloneAll(r.BlkioThrottleReadBpsDevice)
	clone.BlkioThrottleWriteBpsDevice = cloneAll(r.BlkioThrottleWriteBpsDevice)
	clone.BlkioThrottleReadIOPSDevice = cloneAll(r.BlkioThrottleReadIOPSDevice)
	clone.BlkioThrottleWriteIOPSDevice = cloneAll(r.BlkioThrottleWriteIOPSDevice)
	clone.HugetlbLimit = cloneAll(r.HugetlbLimit)
	clone.Unified = maps.Clone(r.Unified)
	return &clone
}

func cloneAll[T any](list []*T) []*T {
	clones := slices.Clone(list)
	for i, p := range clones {
		value := *p
		clones[i] = &value
	}
	return clones
}

// mergeResources puts what from sets into to. A nil pointer, an empty string
// and, as runc has it, a zero where zero cannot be a limit keep what to has.
func mergeResources(to *cgroups.Resources, from *specs.LinuxResources) {
	mergeMemory(to, from.Memory)
	mergeCPU(to, from.CPU)
	mergeBlockIO(to, from.BlockIO)
	if from.Pids != nil {
		setPointer(&to.PidsLimit, from.Pids.Limit)
	}
	for _, limit := range from.HugepageLimits {
		mergeHugepages(to, limit)
	}
	// Written last and over everything, so that an old key would win over a new
	// limit for the same file: the kernel has the old ones already.
	to.Unified = maps.Clone(from.Unified)
}

func mergeMemory(to *cgroups.Resources, from *specs.LinuxMemory) {
	if from == nil {
		return
	}
	setUnlessZero(&to.Memory, from.Limit)
	setUnlessZero(&to.MemoryReservation, from.Reservation)
	if from.CheckBeforeUpdate != nil {
		to.MemoryCheckBeforeUpdate = *from.CheckBeforeUpdate
	}
	if from.Swap != nil {
		to.MemorySwap = *from.Swap
	} else if from.Limit != nil && *from.Limit == -1 {
		// A limit on memory and swap cannot be without one on memory.
		to.MemorySwap = 0
	}
}

func mergeCPU(to *cgroups.Resources, from *specs.LinuxCPU) {
	if from == nil {
		return
	}
	setUnlessZero(&to.CpuPeriod, from.Period)
	setUnlessZero(&to.CpuQuota, from.Quota)
	setUnlessZero(&to.CpuRtPeriod, from.RealtimePeriod)
	setUnlessZero(&to.CpuRtRuntime, from.RealtimeRuntime)
	setPointer(&to.CpuBurst, from.Burst)
	setPointer(&to.CPUIdle, from.Idle)
	setUnlessZero(&to.CpusetCpus, &from.Cpus)
	setUnlessZero(&to.CpusetMems, &from.Mems)
	switch {
	case from.Shares != nil:
		to.CpuShares = *from.Shares
		to.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*from.Shares)
	case from.Idle != nil:
		// The kernel takes no weight for a group that is idle.
		to.CpuShares, to.CpuWeight = 0, 0
	}
}

func mergeBlockIO(to *cgroups.Resources, from *specs.LinuxBlockIO) {
	if from == nil {
		return
	}
	setUnlessZero(&to.BlkioWeight, from.Weight)
	setUnlessZero(&to.BlkioLeafWeight, from.LeafWeight)
	for _, device := range from.WeightDevice {
		to.BlkioWeightDevice = mergeWeight(to.BlkioWeightDevice, device)
	}
	mergeRates(&to.BlkioThrottleReadBpsDevice, from.ThrottleReadBpsDevice)
	mergeRates(&to.BlkioThrottleWriteBpsDevice, from.ThrottleWriteBpsDevice)
	mergeRates(&to.BlkioThrottleReadIOPSDevice, from.ThrottleReadIOPSDevice)
	mergeRates(&to.BlkioThrottleWriteIOPSDevice, from.ThrottleWriteIOPSDevice)
}

// mergeWeight changes the last entry of a device, which is the one that counts,
// or adds one.
func mergeWeight(list []*cgroups.WeightDevice, from specs.LinuxWeightDevice) []*cgroups.WeightDevice {
	for _, device := range slices.Backward(list) {
		if device.Major == from.Major && device.Minor == from.Minor {
			setUnlessZero(&device.Weight, from.Weight)
			setUnlessZero(&device.LeafWeight, from.LeafWeight)
			return list
		}
	}
	device := cgroups.NewWeightDevice(from.Major, from.Minor, 0, 0)
	setUnlessZero(&device.Weight, from.Weight)
	setUnlessZero(&device.LeafWeight, from.LeafWeight)
	return append(list, device)
}

func mergeRates(list *[]*cgroups.ThrottleDevice, from []specs.LinuxThrottleDevice) {
next:
	for _, change := range from {
		for _, device := range slices.Backward(*list) {
			if device.Major == change.Major && device.Minor == change.Minor {
				device.Rate = change.Rate
				continue next
			}
		}
		*list = append(*list, cgroups.NewThrottleDevice(change.Major, change.Minor, change.Rate))
	}
}

func mergeHugepages(to *cgroups.Resources, from specs.LinuxHugepageLimit) {
	for _, limit := range to.HugetlbLimit {
		if limit.Pagesize == from.Pagesize {
			limit.Limit = from.Limit
			return
		}
	}
	to.HugetlbLimit = append(to.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: from.Pagesize, Limit: from.Limit})
}

// setUnlessZero sets *to unless value is nil or zero.
func setUnlessZero[T comparable](to, value *T) {
	var zero T
	if value != nil && *value != zero {
		*to = *value
	}
}

// setPointer sets *to unless value is nil: zero is a value.
func setPointer[T any](to **T, value *T) {
	if value != nil {
		v := *value
		*to = &v
	}
}

func mergeRDT(config *configs.Config, opts UpdateOptions) error {
	switch {
	case opts.L3CacheSchema == "" && opts.MemBwSchema == "":
		return nil
	case opts.L3CacheSchema != "" && !intelrdt.IsCATEnabled():
		return errors.New("set an L3 cache schema: this machine has no Intel RDT/CAT, or resctrl is not mounted")
	case opts.MemBwSchema != "" && !intelrdt.IsMBAEnabled():
		return errors.New("set a memory bandwidth schema: this machine has no Intel RDT/MBA, or resctrl is not mounted")
	case config.IntelRdt == nil:
		return errors.New("set an Intel RDT schema: the container was created without linux.intelRdt")
	}
	rdt := *config.IntelRdt
	config.IntelRdt = &rdt
	setUnlessZero(&rdt.L3CacheSchema, &opts.L3CacheSchema)
	setUnlessZero(&rdt.MemBwSchema, &opts.MemBwSchema)
	return nil
}
