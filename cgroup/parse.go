package cgroup

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// maxCPUNumber is the largest CPU number that a Linux kernel can be built for (CONFIG_NR_CPUS on
	// x86 and arm64 is at most 8192).
	maxCPUNumber = 8191
	// minCPUs is the kernel's shortest quota, 1 ms, in a period of 100 ms (min_cfs_quota_period in
	// kernel/sched/core.c).
	minCPUs = 0.01
	// maxPids is PID_MAX_LIMIT, the most that pids.max takes on a 64-bit kernel.
	maxPids = 4 << 20
	// maxIOPS is what the block layer's throttling counts to (UINT_MAX).
	maxIOPS = math.MaxUint32
)

// ParseBytes reads a size in bytes: a number, decimals allowed, with an optional unit b, k, m, g, t, p
// in either case, also written kb or KiB, all powers of 1024. "-1", "max" and "unlimited" give
// Unlimited. Zero is refused: no sandbox starts with it.
func ParseBytes(value string) (int64, error) {
	if isUnlimited(value) {
		return Unlimited, nil
	}
	n, err := parseSize(value)
	if err != nil {
		return 0, invalidf("cannot read %q as a size: %s; write bytes or a number with k, m, g or t (powers of 1024), such as 64M, or -1 for no limit", value, err)
	}
	return n, nil
}

// ParseCPUs reads a number of CPUs, such as "0.5", between 0.01 and 8192.
func ParseCPUs(value string) (float64, error) {
	cpus, ok := parseDecimal(value)
	if !ok || cpus < minCPUs || cpus > maxCPUNumber+1 {
		return 0, invalidf("cannot read %q as a number of CPUs; write a number from 0.01 to 8192, such as 0.5", value)
	}
	return cpus, nil
}

// ParseCpuset reads a list of CPU numbers and ranges, such as "0-2,7", and returns it as it was
// written. Whether the host has those CPUs is checked by Limits.Apply.
func ParseCpuset(value string) (string, error) {
	if err := eachCPU(value, func(int) {}); err != nil {
		return "", err
	}
	return value, nil
}

// ParsePids reads a number of processes and threads from 1 to 4194304, or "-1", "max" or "unlimited".
func ParsePids(value string) (int64, error) {
	if isUnlimited(value) {
		return Unlimited, nil
	}
	n, ok := parseDigits(value)
	if !ok || n < 1 || n > maxPids {
		return 0, invalidf("cannot read %q as a number of processes; write a whole number from 1 to %d, or -1 for no limit", value, maxPids)
	}
	return int64(n), nil
}

// ParseTime reads a duration with a unit, such as "30s", "1m30s" or "500ms", of at least one
// millisecond.
func ParseTime(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Millisecond {
		return 0, invalidf("cannot read %q as a duration; write a number with a unit and at least 1ms, such as 30s or 1m30s", value)
	}
	return d, nil
}

// ParseIOMax reads limits for one block device: "DEVICE:rate=value,…" where DEVICE is a path or
// major:minor and each rate is one of rbps and wbps (bytes a second, units as in ParseBytes), riops
// and wiops (operations a second, a whole number). The value "max" leaves a rate without a limit.
func ParseIOMax(value string) (IOMax, error) {
	// The last colon, because device paths may have colons themselves
	// (/dev/disk/by-path/pci-0000:00:1f.2-ata-1) and rates have none.
	colon := strings.LastIndexByte(value, ':')
	if colon < 0 {
		return IOMax{}, invalidf("cannot read %q as an I/O limit: no rate; write DEVICE:rbps=1M,wiops=100", value)
	}
	io := IOMax{Device: value[:colon]}
	if err := checkDevice(io.Device); err != nil {
		return IOMax{}, invalidf("cannot read %q as an I/O limit: %s; write DEVICE:rbps=1M,wiops=100 with a device such as /dev/sda or 8:0", value, err)
	}
	seen := map[string]bool{}
	limited := false
	for part := range strings.SplitSeq(value[colon+1:], ",") {
		key, rate, ok := strings.Cut(part, "=")
		target := io.rate(key)
		if !ok || target == nil {
			return IOMax{}, invalidf("cannot read %q as an I/O limit: %q is none of rbps=, wbps=, riops=, wiops=", value, part)
		}
		if seen[key] {
			return IOMax{}, invalidf("cannot read %q as an I/O limit: %s is given twice", value, key)
		}
		seen[key] = true
		if rate == "max" {
			continue
		}
		n, err := parseRate(key, rate)
		if err != nil {
			return IOMax{}, invalidf("cannot read %q as an I/O limit: %s: %s", value, key, err)
		}
		*target = &n
		limited = true
	}
	if !limited {
		return IOMax{}, invalidf("cannot read %q as an I/O limit: every rate is max, which limits nothing", value)
	}
	return io, nil
}

// rate returns the field that an I/O rate's name stands for, nil for an unknown name.
func (io *IOMax) rate(key string) **uint64 {
	switch key {
	case "rbps":
		return &io.RBps
	case "wbps":
		return &io.WBps
	case "riops":
		return &io.RIOps
	case "wiops":
		return &io.WIOps
	}
	return nil
}

func parseRate(key, value string) (uint64, error) {
	if strings.HasSuffix(key, "iops") {
		n, ok := parseDigits(value)
		if !ok || n < 1 || n > maxIOPS {
			return 0, invalidf("%q is not a whole number from 1 to %d", value, uint64(maxIOPS))
		}
		return n, nil
	}
	n, err := parseSize(value)
	if err != nil {
		return 0, invalidf("%q is not a size (%s)", value, err)
	}
	return uint64(n), nil
}

func checkDevice(device string) error {
	if strings.HasPrefix(device, "/") {
		if strings.ContainsRune(device, 0) {
			return invalidf("a path has no NUL")
		}
		return nil
	}
	if _, _, ok := parseDeviceNumbers(device); !ok {
		return invalidf("%q is neither an absolute path nor major:minor", device)
	}
	return nil
}

// parseDeviceNumbers reads "major:minor" within the bounds of the kernel's dev_t (12 and 20 bits).
func parseDeviceNumbers(s string) (major, minor uint32, ok bool) {
	a, b, found := strings.Cut(s, ":")
	ma, ok1 := parseDigits(a)
	mi, ok2 := parseDigits(b)
	if !found || !ok1 || !ok2 || ma >= 1<<12 || mi >= 1<<20 {
		return 0, 0, false
	}
	return uint32(ma), uint32(mi), true
}

// eachCPU calls f for each CPU that list names, in order of writing.
func eachCPU(list string, f func(cpu int)) error {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, ok := parseDigits(from)
		last := first
		if isRange && ok {
			last, ok = parseDigits(to)
		}
		if !ok || first > last || last > maxCPUNumber {
			return invalidf("cannot read %q as a list of CPUs: %q is no number or rising range up to %d; write something like 0-2,7", list, part, maxCPUNumber)
		}
		for cpu := first; cpu <= last; cpu++ {
			f(int(cpu))
		}
	}
	return nil
}

func isUnlimited(value string) bool {
	return value == "-1" || value == "max" || value == "unlimited"
}

// parseSize reads a positive size with a unit.
func parseSize(value string) (int64, error) {
	number, shift := cutUnit(value)
	if shift < 0 {
		return 0, invalidf("no such unit")
	}
	var bytes float64
	if n, ok := parseDigits(number); ok {
		// Whole numbers are kept exact: a float64 would lose bytes above 2^53.
		if n > math.MaxInt64>>shift {
			return 0, invalidf("it is over 2^63 bytes")
		}
		if n == 0 {
			return 0, invalidf("it is zero")
		}
		return int64(n << shift), nil
	}
	bytes, ok := parseDecimal(number)
	if !ok {
		return 0, invalidf("it is no positive number")
	}
	bytes *= float64(int64(1) << shift)
	if bytes >= math.MaxInt64 {
		return 0, invalidf("it is over 2^63 bytes")
	}
	if bytes < 1 {
		return 0, invalidf("it is less than one byte")
	}
	return int64(bytes), nil
}

// cutUnit splits a size into its number and the power of two of its unit, -1 for an unknown unit.
func cutUnit(value string) (number string, shift int) {
	end := len(value)
	for end > 0 && (value[end-1] < '0' || value[end-1] > '9') {
		end--
	}
	unit := strings.ToLower(value[end:])
	if len(unit) > 1 {
		unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
		if len(unit) != 1 || unit == "b" {
			return value[:end], -1
		}
	}
	shift, ok := map[string]int{"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}[unit]
	if !ok {
		return value[:end], -1
	}
	return value[:end], shift
}

// parseDecimal reads digits with at most one point between them: none of the signs, exponents,
// hexadecimal forms, underscores, infinities and NaNs that strconv takes.
func parseDecimal(s string) (float64, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if !onlyDigits(whole) || (point && !onlyDigits(fraction)) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func parseDigits(s string) (uint64, bool) {
	if !onlyDigits(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
