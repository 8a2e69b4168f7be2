package cgroup

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	microsecond = 1e6
	nanosecond  = 1e9
	// userHZ is the unit of cpuacct.stat, 100 a second on every architecture that Go runs on.
	userHZ = 100
)

// Stats reads the group's counters. It has to be called before the group is removed; on a removed group
// the error wraps ErrRemoved. A figure that cannot be read is nil. When a file is there but cannot be
// read or parsed, the error says so, and the other figures are filled all the same.
func (g *Group) Stats() (*Stats, error) {
	if len(g.Existing()) == 0 {
		return nil, fmt.Errorf("read figures of cgroup %s: %w", g.dirs()[0], ErrRemoved)
	}
	stats := &Stats{}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(g.readCPU(&stats.CPU))
	note(g.readMemory(&stats.Memory))
	note(g.readOOM(&stats.OOM))
	note(g.readUintInto(&stats.Pids.Peak, g.file("pids", "pids.peak", "pids.peak")))
	note(g.readIO(&stats.IO))
	note(g.readPressure(&stats.Pressure))
	return stats, errors.Join(errs...)
}

func (g *Group) readUintInto(target **uint64, path string) error {
	if path == "" {
		return nil
	}
	var err error
	*target, err = readUint(path)
	return err
}

func (g *Group) readCPU(cpu *CPUStats) error {
	if g.isV2() {
		stat, err := readKeyed(g.unified + "/cpu.stat")
		cpu.UserSeconds = stat.seconds("user_usec", microsecond)
		cpu.SystemSeconds = stat.seconds("system_usec", microsecond)
		cpu.Periods = stat.get("nr_periods")
		cpu.ThrottledPeriods = stat.get("nr_throttled")
		cpu.ThrottledSeconds = stat.seconds("throttled_usec", microsecond)
		return err
	}
	var errs []error
	if path := g.file("cpu", "cpu.stat", ""); path != "" {
		stat, err := readKeyed(path)
		cpu.Periods = stat.get("nr_periods")
		cpu.ThrottledPeriods = stat.get("nr_throttled")
		cpu.ThrottledSeconds = stat.seconds("throttled_time", nanosecond)
		errs = append(errs, err)
	}
	errs = append(errs, g.readCPUTimesV1(cpu))
	return errors.Join(errs...)
}

// readCPUTimesV1 prefers the v2 tree of a hybrid host: there the kernel divides the exact run time by
// sampled ticks, to the microsecond, as it does for getrusage; cpuacct.stat rounds that to 10 ms.
func (g *Group) readCPUTimesV1(cpu *CPUStats) error {
	if g.unified != "" {
		stat, err := readKeyed(g.unified + "/cpu.stat")
		cpu.UserSeconds = stat.seconds("user_usec", microsecond)
		cpu.SystemSeconds = stat.seconds("system_usec", microsecond)
		if err != nil || cpu.UserSeconds != nil {
			return err
		}
	}
	path := g.file("cpuacct", "cpuacct.stat", "")
	if path == "" {
		return nil
	}
	stat, err := readKeyed(path)
	cpu.UserSeconds = stat.seconds("user", userHZ)
	cpu.SystemSeconds = stat.seconds("system", userHZ)
	return err
}

func (g *Group) readMemory(memory *MemoryStats) error {
	err := g.readUintInto(&memory.PeakBytes, g.file("memory", "memory.max_usage_in_bytes", "memory.peak"))
	// memory.memsw.max_usage_in_bytes is the peak of the sum, which says nothing about swap alone.
	return errors.Join(err, g.readUintInto(&memory.SwapPeakBytes, g.file("memory", "", "memory.swap.peak")))
}

func (g *Group) readOOM(oom *OOMStats) error {
	if g.isV2() {
		// memory.events counts groups below too, also those removed since; memory.events.local doesn't.
		events, err := readKeyed(g.unified + "/memory.events")
		oom.Kills = events.get("oom_kill")
		return err
	}
	dir := g.v1["memory"]
	if dir == "" {
		return nil
	}
	// v1 counts a kill in the victim's own group alone.
	return walkDirs(dir, func(dir string) error {
		control, err := readKeyed(dir + "/memory.oom_control")
		if kills := control.get("oom_kill"); kills != nil {
			if oom.Kills != nil {
				*kills += *oom.Kills
			}
			oom.Kills = kills
		}
		return err
	})
}

func (g *Group) readIO(io *IOStats) error {
	if g.isV2() {
		return readIOv2(io, g.unified+"/io.stat")
	}
	dir := g.v1["blkio"]
	if dir == "" {
		return nil
	}
	return readIOv1(io, dir+"/blkio.throttle.io_service_bytes_recursive")
}

// readIOv2 adds up lines such as "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0".
func readIOv2(io *IOStats, path string) error {
	text, err := readFile(path)
	if err != nil {
		if isAbsent(err) {
			return nil
		}
		return err
	}
	var read, written uint64
	for line := range strings.Lines(text) {
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			if key != "rbytes" && key != "wbytes" {
				continue
			}
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return fmt.Errorf("parse %s: field %q: %w", path, field, err)
			}
			if key == "rbytes" {
				read += n
			} else {
				written += n
			}
		}
	}
	io.ReadBytes, io.WrittenBytes = &read, &written
	return nil
}

// readIOv1 adds up lines such as "8:0 Read 4096"; a last line "Total 4096" has two fields.
func readIOv1(io *IOStats, path string) error {
	text, err := readFile(path)
	if err != nil {
		if isAbsent(err) {
			return nil
		}
		return err
	}
	var read, written uint64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || (fields[1] != "Read" && fields[1] != "Write") {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("parse %s: line %q: %w", path, strings.TrimSpace(line), err)
		}
		if fields[1] == "Read" {
			read += n
		} else {
			written += n
		}
	}
	io.ReadBytes, io.WrittenBytes = &read, &written
	return nil
}

func (g *Group) readPressure(pressure *PressureStats) error {
	if g.unified == "" {
		return nil
	}
	return errors.Join(
		readPressureFile(&pressure.CPU, g.unified+"/cpu.pressure"),
		readPressureFile(&pressure.Memory, g.unified+"/memory.pressure"),
		readPressureFile(&pressure.IO, g.unified+"/io.pressure"),
	)
}

// readPressureFile reads lines such as "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234", total in
// microseconds.
func readPressureFile(pressure *Pressure, path string) error {
	text, err := readFile(path)
	if err != nil {
		if isAbsent(err) {
			return nil
		}
		return err
	}
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		_, total, ok := strings.Cut(rest, "total=")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(total, 10, 64)
		if err != nil {
			return fmt.Errorf("parse %s: line %q: %w", path, strings.TrimSpace(line), err)
		}
		switch kind {
		case "some":
			pressure.SomeSeconds = inSeconds(&n, microsecond)
		case "full":
			pressure.FullSeconds = inSeconds(&n, microsecond)
		}
	}
	return nil
}

// unlimitedV1 is where v1's numbers mean "no limit": the largest count of pages, in bytes, on the
// kernel with the largest pages (64 KiB).
const unlimitedV1 = math.MaxInt64 - math.MaxInt64%(64<<10)
