package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/intelrdt"
	"github.com/opencontainers/runc/types"
	"golang.org/x/sys/unix"
)

// Event is what runc's events prints, a JSON object each: type "stats" with
// Data, or type "oom" without.
type Event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	// Data marshals to the figures in runc's form
	// (github.com/opencontainers/runc/types.Stats). Durations are nanoseconds,
	// sizes bytes.
	Data any `json:"data,omitempty"`
}

// Stats reads the container's figures once. The error wraps ErrNotRunning if it
// has stopped.
func (c *Container) Stats() (Event, error) {
	if err := c.mustLive(); err != nil {
		return Event{}, err
	}
	return c.stats()
}

func (c *Container) mustLive() error {
	status, err := c.status()
	if err == nil && status == libcontainer.Stopped {
		err = fmt.Errorf("container %q: %w", c.id, ErrNotRunning)
	}
	return err
}

func (c *Container) stats() (Event, error) {
	group, err := c.openGroup()
	if err != nil {
		return Event{}, err
	}
	if group == nil {
		return Event{}, c.explainNoCgroup("read the figures of", ErrNoCgroup)
	}
	stats, err := c.lc.Stats()
	if err != nil {
		return Event{}, fmt.Errorf("read figures of container %q: %w", c.id, err)
	}
	return Event{Type: "stats", ID: c.id, Data: convertStats(stats)}, nil
}

// Events calls emit with the figures after each interval and with every OOM
// kill, until the container's first process or ctx ends, or emit fails. The
// error wraps ErrNotRunning if the container has stopped before.
func (c *Container) Events(ctx context.Context, interval time.Duration, emit func(Event) error) error {
	if interval <= 0 {
		return errors.New("cannot watch a container: the interval must be greater than 0")
	}
	if _, err := c.Stats(); err != nil {
		return err
	}
	w, err := c.openWatch()
	if err != nil {
		return err
	}
	defer w.close()
	stop := context.AfterFunc(ctx, w.wake)
	defer stop()
	return w.loop(interval, emit)
}

// watch waits for several descriptors in one place, so that no goroutine is
// left behind in a read that cannot be called back.
type watch struct {
	container *Container
	pidfd     int
	wakeup    int       // eventfd
	oom       oomSource // nil without a memory controller
}

func (c *Container) openWatch() (_ *watch, retErr error) {
	w := &watch{container: c, pidfd: -1, wakeup: -1}
	defer func() {
		if retErr != nil {
			w.close()
		}
	}()
	state, err := c.lc.State()
	if err != nil {
		return nil, fmt.Errorf("read state of container %q: %w", c.id, err)
	}
	w.pidfd, err = unix.PidfdOpen(state.InitProcessPid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("container %q: %w", c.id, ErrNotRunning)
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	if w.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	w.oom, err = openOOMSource(state.CgroupPaths)
	if errors.Is(err, errNoMemoryController) {
		c.runtime.log.Warn("OOM kills will not be told", "id", c.id, "reason", err)
		return w, nil
	}
	if err != nil {
		return nil, fmt.Errorf("watch for OOM kills of container %q: %w", c.id, err)
	}
	// The process ID was read before it was pinned: it may have been another's.
	return w, c.mustLive()
}

// wake ends the loop. It may run beside it.
func (w *watch) wake() {
	unix.Write(w.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // its counter has room
}

func (w *watch) close() {
	for _, fd := range []int{w.pidfd, w.wakeup} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if w.oom != nil {
		w.oom.close()
	}
}

func (w *watch) loop(interval time.Duration, emit func(Event) error) error {
	polled := []unix.PollFd{{Fd: int32(w.pidfd), Events: unix.POLLIN}, {Fd: int32(w.wakeup), Events: unix.POLLIN}}
	if w.oom != nil {
		polled = append(polled, unix.PollFd{Fd: int32(w.oom.fd()), Events: unix.POLLIN})
	}
	for next := time.Now().Add(interval); ; {
		timeout := max(0, time.Until(next))
		// Rounded up: a poll that returns early would spin.
		_, err := unix.Poll(polled, int(min(timeout/time.Millisecond+1, 1<<30)))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if err != nil {
			continue
		}
		// The end last: what came before it is told before.
		ended := polled[0].Revents != 0
		if w.oom != nil && (polled[2].Revents != 0 || ended) {
			if err := w.emitOOM(emit); err != nil {
				return err
			}
		}
		if ended || polled[1].Revents != 0 {
			return nil
		}
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(interval)
		event, err := w.container.stats()
		if err != nil {
			w.container.runtime.log.Warn("cannot read the figures", "id", w.container.id, "error", err)
			continue
		}
		if err := emit(event); err != nil {
			return err
		}
	}
}

func (w *watch) emitOOM(emit func(Event) error) error {
	for range w.oom.read() {
		if err := emit(Event{Type: "oom", ID: w.container.id}); err != nil {
			return err
		}
	}
	return nil
}

// convertStats puts libcontainer's figures into runc's form.
func convertStats(from *libcontainer.Stats) *types.Stats {
	group := from.CgroupStats
	if group == nil {
		return nil
	}
	cpu, memory, io := &group.CpuStats, &group.MemoryStats, &group.BlkioStats
	to := &types.Stats{
		CPU: types.Cpu{
			Usage: types.CpuUsage{
				Total:        cpu.CpuUsage.TotalUsage,
				Percpu:       cpu.CpuUsage.PercpuUsage,
				PercpuKernel: cpu.CpuUsage.PercpuUsageInKernelmode,
				PercpuUser:   cpu.CpuUsage.PercpuUsageInUsermode,
				Kernel:       cpu.CpuUsage.UsageInKernelmode,
				User:         cpu.CpuUsage.UsageInUsermode,
			},
			Throttling: types.Throttling{
				Periods:          cpu.ThrottlingData.Periods,
				ThrottledPeriods: cpu.ThrottlingData.ThrottledPeriods,
				ThrottledTime:    cpu.ThrottlingData.ThrottledTime,
			},
			PSI: cpu.PSI,
		},
		CPUSet: types.CPUSet(group.CPUSetStats),
		Memory: types.Memory{
			Cache:     memory.Cache,
			Usage:     convertMemory(memory.Usage),
			Swap:      convertMemory(memory.SwapUsage),
			Kernel:    convertMemory(memory.KernelUsage),
			KernelTCP: convertMemory(memory.KernelTCPUsage),
			Raw:       memory.Stats,
			PSI:       memory.PSI,
		},
		Pids: types.Pids{Current: group.PidsStats.Current, Limit: group.PidsStats.Limit},
		Blkio: types.Blkio{
			IoServiceBytesRecursive: convertIO(io.IoServiceBytesRecursive),
			IoServicedRecursive:     convertIO(io.IoServicedRecursive),
			IoQueuedRecursive:       convertIO(io.IoQueuedRecursive),
			IoServiceTimeRecursive:  convertIO(io.IoServiceTimeRecursive),
			IoWaitTimeRecursive:     convertIO(io.IoWaitTimeRecursive),
			IoMergedRecursive:       convertIO(io.IoMergedRecursive),
			IoTimeRecursive:         convertIO(io.IoTimeRecursive),
			SectorsRecursive:        convertIO(io.SectorsRecursive),
			PSI:                     io.PSI,
		},
		Hugetlb:           map[string]types.Hugetlb{},
		NetworkInterfaces: from.Interfaces,
	}
	for size, pages := range group.HugetlbStats {
		to.Hugetlb[size] = types.Hugetlb{Usage: pages.Usage, Max: pages.MaxUsage, Failcnt: pages.Failcnt}
	}
	convertRDT(&to.IntelRdt, from.IntelRdtStats)
	return to
}

func convertMemory(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func convertIO(entries []cgroups.BlkioStatEntry) []types.BlkioEntry {
	converted := make([]types.BlkioEntry, 0, len(entries))
	for _, e := range entries {
		converted = append(converted, types.BlkioEntry(e))
	}
	return converted
}

func convertRDT(to *types.IntelRdt, from *intelrdt.Stats) {
	if from == nil {
		return
	}
	if intelrdt.IsCATEnabled() {
		to.L3CacheInfo = (*types.L3CacheInfo)(from.L3CacheInfo)
		to.L3CacheSchemaRoot = from.L3CacheSchemaRoot
		to.L3CacheSchema = from.L3CacheSchema
	}
	if intelrdt.IsMBAEnabled() {
		to.MemBwInfo = (*types.MemBwInfo)(from.MemBwInfo)
		to.MemBwSchemaRoot = from.MemBwSchemaRoot
		to.MemBwSchema = from.MemBwSchema
	}
	if intelrdt.IsMBMEnabled() {
		to.MBMStats = from.MBMStats
	}
	if intelrdt.IsCMTEnabled() {
		to.CMTStats = from.CMTStats
	}
	to.Schemata = from.Schemata
}
