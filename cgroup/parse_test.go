package cgroup

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

// checkInvalid wants an error for the user that names the value and says what is allowed.
func checkInvalid(t *testing.T, err error, value, allowed string) {
	t.Helper()
	if !errors.Is(err, ErrInvalidLimit) {
		t.Fatalf("%q: error %v is no ErrInvalidLimit", value, err)
	}
	if !strings.Contains(err.Error(), allowed) || strings.ContainsRune(err.Error(), '\n') {
		t.Errorf("%q: error %q doesn't say %q in one line", value, err, allowed)
	}
}

func TestParseBytes(t *testing.T) {
	for value, want := range map[string]int64{
		"1": 1, "4096": 4096, "64M": 64 << 20, "64m": 64 << 20, "64MB": 64 << 20, "64MiB": 64 << 20, "64mib": 64 << 20,
		"1.5g": 3 << 29, "0.5k": 512, "2t": 2 << 40, "1p": 1 << 50, "7b": 7, "-1": Unlimited, "max": Unlimited,
		"unlimited": Unlimited, "9223372036854775807": 1<<63 - 1, "9007199254740993": 9007199254740993,
	} {
		got, err := ParseBytes(value)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", value, got, err, want)
		}
	}
	for _, value := range []string{
		"", " ", "m", "0", "0.0", "0.1", "-2", "+1", "1e3", "0x10", "1_000", "64 M", "64X", "64mm", "64bb", "64ib", "1.",
		".5", "1..2", "1.2.3", "inf", "nan", "9223372036854775808", "8192p", "99999999999999999999", "9999999.5p", "1\n",
	} {
		_, err := ParseBytes(value)
		checkInvalid(t, err, value, "such as 64M")
	}
}

func TestParseCPUs(t *testing.T) {
	for value, want := range map[string]float64{"0.5": 0.5, "1": 1, "0.01": 0.01, "2.25": 2.25, "8192": 8192} {
		got, err := ParseCPUs(value)
		if err != nil || got != want {
			t.Errorf("ParseCPUs(%q) = %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"", "0", "0.009", "-1", "8192.1", "1e2", "NaN", "Inf", "+1", "0x1p1", "1,5", "50%"} {
		_, err := ParseCPUs(value)
		checkInvalid(t, err, value, "0.01 to 8192")
	}
}

func TestParseCpuset(t *testing.T) {
	for _, value := range []string{"0", "0-3", "0-2,7", "1,1", "8191"} {
		got, err := ParseCpuset(value)
		if err != nil || got != value {
			t.Errorf("ParseCpuset(%q) = %q, %v", value, got, err)
		}
	}
	for _, value := range []string{"", ",", "0,", "3-1", "-1", "a", "0-", "0-1-2", "8192", "0 1", "0-99999999999999999999", "0:2"} {
		_, err := ParseCpuset(value)
		checkInvalid(t, err, value, "like 0-2,7")
	}
}

func TestParsePids(t *testing.T) {
	for value, want := range map[string]int64{"1": 1, "64": 64, "4194304": 4194304, "-1": Unlimited, "max": Unlimited} {
		got, err := ParsePids(value)
		if err != nil || got != want {
			t.Errorf("ParsePids(%q) = %d, %v; want %d", value, got, err, want)
		}
	}
	for _, value := range []string{"", "0", "-2", "1.5", "4194305", "1k", "99999999999999999999"} {
		_, err := ParsePids(value)
		checkInvalid(t, err, value, "1 to 4194304")
	}
}

func TestParseTime(t *testing.T) {
	for value, want := range map[string]time.Duration{"30s": 30 * time.Second, "1m30s": 90 * time.Second, "1ms": time.Millisecond} {
		got, err := ParseTime(value)
		if err != nil || got != want {
			t.Errorf("ParseTime(%q) = %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"", "30", "0s", "-1s", "999us", "1d"} {
		_, err := ParseTime(value)
		checkInvalid(t, err, value, "at least 1ms")
	}
}

func TestParseIOMax(t *testing.T) {
	for value, want := range map[string]IOMax{
		"8:0:rbps=1M":              {Device: "8:0", RBps: ptr[uint64](1 << 20)},
		"/dev/vda:rbps=1M":         {Device: "/dev/vda", RBps: ptr[uint64](1 << 20)},
		"8:0:rbps=1M,wiops=100":    {Device: "8:0", RBps: ptr[uint64](1 << 20), WIOps: ptr[uint64](100)},
		"8:0:riops=1,wbps=4096":    {Device: "8:0", RIOps: ptr[uint64](1), WBps: ptr[uint64](4096)},
		"8:0:rbps=max,wbps=1k":     {Device: "8:0", WBps: ptr[uint64](1024)},
		"/dev/by-path/0:1f:rbps=1": {Device: "/dev/by-path/0:1f", RBps: ptr[uint64](1)},
		"8:0:wiops=4294967295":     {Device: "8:0", WIOps: ptr[uint64](4294967295)},
	} {
		got, err := ParseIOMax(value)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseIOMax(%q) = %+v, %v; want %+v", value, got, err, want)
		}
	}
	for value, allowed := range map[string]string{
		"":                     "DEVICE:rbps=1M",
		"/dev/vda":             "DEVICE:rbps=1M",
		"8:0":                  "DEVICE:rbps=1M",
		"vda:rbps=1M":          "neither an absolute path nor major:minor",
		"8:0:":                 "rbps=, wbps=, riops=, wiops=",
		"8:0:rbps":             "rbps=, wbps=, riops=, wiops=",
		"8:0:bps=1":            "rbps=, wbps=, riops=, wiops=",
		"8:0:rbps=1M,":         "rbps=, wbps=, riops=, wiops=",
		"8:0:rbps=1,rbps=2":    "given twice",
		"8:0:rbps=0":           "it is zero",
		"8:0:rbps=-1":          "no positive number",
		"8:0:riops=1k":         "1 to 4294967295",
		"8:0:riops=4294967296": "1 to 4294967295",
		"8:0:rbps=max":         "limits nothing",
		"4096:0:rbps=1":        "neither an absolute path nor major:minor",
		"8:1048576:rbps=1":     "neither an absolute path nor major:minor",
		"/dev/\x00:rbps=1":     "no NUL",
		":rbps=1":              "neither an absolute path nor major:minor",
		"8:0:rbps=1M wiops=1":  "no positive number",
	} {
		_, err := ParseIOMax(value)
		checkInvalid(t, err, value, allowed)
	}
}

func TestLimitsOver(t *testing.T) {
	base := Limits{
		MemoryBytes: ptr[int64](1), MemorySwapBytes: ptr[int64](2), CPUs: ptr(1.0), Cpuset: "0", Pids: ptr[int64](3),
		IOMax:    []IOMax{{Device: "8:0", RBps: ptr[uint64](1), WBps: ptr[uint64](1)}, {Device: "8:16", RIOps: ptr[uint64](9)}},
		WallTime: time.Second, CPUTime: 2 * time.Second,
	}
	over := Limits{
		MemoryBytes: ptr[int64](10), MemorySwapBytes: ptr[int64](20), CPUs: ptr(2.0), Cpuset: "1", Pids: ptr[int64](30),
		IOMax:    []IOMax{{Device: "8:0", RBps: ptr[uint64](7)}, {Device: "8:32", WIOps: ptr[uint64](8)}},
		WallTime: time.Minute, CPUTime: time.Hour,
	}
	merged := over
	merged.IOMax = []IOMax{
		{Device: "8:0", RBps: ptr[uint64](7), WBps: ptr[uint64](1)},
		{Device: "8:16", RIOps: ptr[uint64](9)},
		{Device: "8:32", WIOps: ptr[uint64](8)},
	}
	for name, test := range map[string]struct{ over, base, want Limits }{
		"all":          {over, base, merged},
		"nothing over": {Limits{}, base, base},
		"over nothing": {over, Limits{}, over},
		"neither":      {Limits{}, Limits{}, Limits{}},
	} {
		if got := test.over.Over(test.base); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, test.want)
		}
	}
	if *base.IOMax[0].RBps != 1 || len(base.IOMax) != 2 {
		t.Error("Over changed its argument")
	}
}
