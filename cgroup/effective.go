package cgroup

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Effective reads the limits that hold for the group back from the kernel. Memory, CPUs and processes
// are the tightest of the group and all groups above it that this mount shows. It never fails: what
// cannot be read is nil.
func (g *Group) Effective() EffectiveLimits {
	if g.isV2() {
		return g.effectiveV2()
	}
	return g.effectiveV1()
}

func (g *Group) effectiveV2() EffectiveLimits {
	var limits EffectiveLimits
	limits.MemoryBytes = tightest(g.unified, "memory.max", parseLimit)
	limits.Pids = tightest(g.unified, "pids.max", parseLimit)
	limits.CPUs = tightest(g.unified, "cpu.max", parseCPUMax)
	// v2 has a limit on swap alone; the sum is what the OCI spec and v1 speak of.
	swap := tightest(g.unified, "memory.swap.max", parseLimit)
	if swap != nil && limits.MemoryBytes != nil {
		sum := *swap + *limits.MemoryBytes
		limits.MemorySwapBytes = &sum
	}
	limits.Cpuset = readText(g.unified + "/cpuset.cpus.effective")
	if text := readText(g.unified + "/io.max"); text != nil {
		limits.IOMax = parseIOMaxFile(*text)
	}
	return limits
}

func (g *Group) effectiveV1() EffectiveLimits {
	var limits EffectiveLimits
	if dir := g.v1["memory"]; dir != "" {
		limits.MemoryBytes = tightest(dir, "memory.limit_in_bytes", parseLimitV1)
		limits.MemorySwapBytes = tightest(dir, "memory.memsw.limit_in_bytes", parseLimitV1)
	}
	if dir := g.v1["pids"]; dir != "" {
		limits.Pids = tightest(dir, "pids.max", parseLimit)
	}
	if dir := g.v1["cpu"]; dir != "" {
		limits.CPUs = tightestDir(dir, readCPUQuotaV1)
	}
	if dir := g.v1["cpuset"]; dir != "" {
		limits.Cpuset = readText(dir + "/cpuset.effective_cpus")
	}
	if dir := g.v1["blkio"]; dir != "" {
		limits.IOMax = readThrottleV1(dir)
	}
	return limits
}

// tightest returns the smallest limit that file holds in dir and the directories above it.
func tightest[T int64 | float64](dir, file string, parse func(text string) *T) *T {
	return tightestDir(dir, func(dir string) (limit *T, ok bool) {
		text := readText(dir + "/" + file)
		if text == nil {
			return nil, false
		}
		return parse(*text), true
	})
}

// tightestDir goes up until a directory has no such limit, which the root of a hierarchy (v2) and the
// directory above it (v1) haven't.
func tightestDir[T int64 | float64](dir string, read func(dir string) (limit *T, ok bool)) *T {
	var least *T
	for {
		limit, ok := read(dir)
		if !ok {
			return least
		}
		if limit != nil && (least == nil || *limit < *least) {
			least = limit
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return least
		}
		dir = parent
	}
}

// readText returns a file's content without its newline, nil when it cannot be read or is empty.
func readText(path string) *string {
	text, err := readFile(path)
	text = strings.TrimSpace(text)
	if err != nil || text == "" {
		return nil
	}
	return &text
}

func parseLimit(text string) *int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

func parseLimitV1(text string) *int64 {
	n := parseLimit(text)
	if n == nil || *n >= unlimitedV1 {
		return nil
	}
	return n
}

// parseCPUMax reads "50000 100000" or "max 100000".
func parseCPUMax(text string) *float64 {
	quota, period, _ := strings.Cut(text, " ")
	return quotient(quota, period)
}

func readCPUQuotaV1(dir string) (cpus *float64, ok bool) {
	quota := readText(dir + "/cpu.cfs_quota_us")
	period := readText(dir + "/cpu.cfs_period_us")
	if quota == nil || period == nil {
		return nil, false
	}
	return quotient(*quota, *period), true
}

func quotient(quota, period string) *float64 {
	q, err1 := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return nil
	}
	cpus := float64(q) / float64(p)
	return &cpus
}

// parseIOMaxFile reads lines such as "8:0 rbps=1048576 wbps=max riops=max wiops=100".
func parseIOMaxFile(text string) []EffectiveIOMax {
	var list []EffectiveIOMax
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		var io IOMax
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			target := io.rate(key)
			n, err := strconv.ParseUint(value, 10, 64)
			if target != nil && err == nil {
				*target = &n
			}
		}
		list = append(list, EffectiveIOMax{Device: fields[0], RBps: io.RBps, WBps: io.WBps, RIOps: io.RIOps, WIOps: io.WIOps})
	}
	return list
}

// readThrottleV1 joins the four files of v1, each with lines such as "8:0 1048576".
func readThrottleV1(dir string) []EffectiveIOMax {
	var list []EffectiveIOMax
	entry := func(device string) *EffectiveIOMax {
		for i := range list {
			if list[i].Device == device {
				return &list[i]
			}
		}
		list = append(list, EffectiveIOMax{Device: device})
		return &list[len(list)-1]
	}
	for _, source := range []struct {
		file  string
		field func(*EffectiveIOMax) **uint64
	}{
		{"blkio.throttle.read_bps_device", func(e *EffectiveIOMax) **uint64 { return &e.RBps }},
		{"blkio.throttle.write_bps_device", func(e *EffectiveIOMax) **uint64 { return &e.WBps }},
		{"blkio.throttle.read_iops_device", func(e *EffectiveIOMax) **uint64 { return &e.RIOps }},
		{"blkio.throttle.write_iops_device", func(e *EffectiveIOMax) **uint64 { return &e.WIOps }},
	} {
		text := readText(dir + "/" + source.file)
		if text == nil {
			continue
		}
		for line := range strings.Lines(*text) {
			device, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			n, err := strconv.ParseUint(value, 10, 64)
			if err == nil {
				*source.field(entry(device)) = &n
			}
		}
	}
	return list
}
