package cgroup

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/golden"
)

// testDisk returns a whole disk of this host as "major:minor".
func testDisk(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/sys/dev/block")
	if err != nil {
		t.Skipf("no block devices: %v", err)
	}
	for _, e := range entries {
		if _, err := os.Stat("/sys/dev/block/" + e.Name() + "/partition"); errors.Is(err, os.ErrNotExist) {
			return e.Name()
		}
	}
	t.Skip("no whole disk on this host")
	return ""
}

func TestApplyGolden(t *testing.T) {
	bundle := func() *specs.LinuxResources {
		return &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ptr[int64](1 << 30), Reservation: ptr[int64](1 << 20)},
			CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512), Mems: "0"},
			Pids:   &specs.LinuxPids{Limit: ptr[int64](10)},
			Unified: map[string]string{
				"memory.max": "1", "memory.swap.max": "1", "cpu.max": "1", "cpuset.cpus": "1", "pids.max": "1", "memory.high": "7",
			},
		}
	}
	for name, test := range map[string]struct {
		limits Limits
		in     *specs.LinuxResources
	}{
		"nothing": {Limits{}, bundle()},
		"over-bundle": {Limits{
			MemoryBytes: ptr[int64](64 << 20), MemorySwapBytes: ptr[int64](64 << 20), CPUs: ptr(0.5), Cpuset: "0", Pids: ptr[int64](64),
		}, bundle()},
		"fresh":     {Limits{MemoryBytes: ptr[int64](64 << 20), CPUs: ptr(1.25), Pids: ptr[int64](1)}, &specs.LinuxResources{}},
		"unlimited": {Limits{MemoryBytes: ptr[int64](-1), MemorySwapBytes: ptr[int64](-1), Pids: ptr[int64](-1)}, bundle()},
		"swap-only": {Limits{MemorySwapBytes: ptr[int64](2 << 30)}, bundle()},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.limits.Apply(test.in); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(test.in, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata/apply", name+".json"), append(got, '\n'))
		})
	}
}

func TestApplyIOMax(t *testing.T) {
	disk := testDisk(t)
	major, minor, _ := parseDeviceNumbers(disk)
	device := func(rate uint64, minor int64) specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = int64(major), minor
		return d
	}
	other := device(5, int64(minor)+1)
	r := &specs.LinuxResources{
		BlockIO: &specs.LinuxBlockIO{
			Weight:                ptr[uint16](100),
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device(1, int64(minor)), other},
			// Not touched, as the limits don't set it.
			ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{device(3, int64(minor))},
		},
		Unified: map[string]string{"io.max": "8:0 rbps=1"},
	}
	before := *r.BlockIO
	limits := Limits{IOMax: []IOMax{{Device: disk, RBps: ptr[uint64](1 << 20), WIOps: ptr[uint64](100)}}}
	if err := limits.Apply(r); err != nil {
		t.Fatal(err)
	}
	want := &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		Weight:                  ptr[uint16](100),
		ThrottleReadBpsDevice:   []specs.LinuxThrottleDevice{other, device(1<<20, int64(minor))},
		ThrottleWriteBpsDevice:  []specs.LinuxThrottleDevice{device(3, int64(minor))},
		ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{device(100, int64(minor))},
	}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v %+v\nwant %+v", r, r.BlockIO, want.BlockIO)
	}
	if before.ThrottleReadBpsDevice[0].Rate != 1 {
		t.Error("Apply wrote into the bundle's own list")
	}
}

func TestApplyDevicePath(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a device node needs root")
	}
	major, minor, _ := parseDeviceNumbers(testDisk(t))
	node := filepath.Join(t.TempDir(), "a:disk")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Skipf("mknod: %v", err)
	}
	r := &specs.LinuxResources{}
	if err := (Limits{IOMax: []IOMax{{Device: node, RBps: ptr[uint64](9)}}}).Apply(r); err != nil {
		t.Fatal(err)
	}
	got := r.BlockIO.ThrottleReadBpsDevice[0]
	if got.Major != int64(major) || got.Minor != int64(minor) || got.Rate != 9 {
		t.Errorf("got %+v, want %d:%d", got, major, minor)
	}
}

func TestApplyErrors(t *testing.T) {
	one := ptr[uint64](1)
	for name, test := range map[string]struct {
		limits Limits
		in     specs.LinuxResources
		want   string
	}{
		"memory below a page":        {Limits{MemoryBytes: ptr[int64](4095)}, specs.LinuxResources{}, "pages of 4096 bytes"},
		"swap below a page":          {Limits{MemorySwapBytes: ptr[int64](4095)}, specs.LinuxResources{}, "pages of 4096 bytes"},
		"swap below memory":          {Limits{MemoryBytes: ptr[int64](8192), MemorySwapBytes: ptr[int64](4096)}, specs.LinuxResources{}, "memory alone is limited to 8192"},
		"memory above bundle's swap": {Limits{MemoryBytes: ptr[int64](1 << 30)}, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr[int64](4096)}}, "to 4096 bytes: memory alone"},
		"swap alone":                 {Limits{MemorySwapBytes: ptr[int64](1 << 20)}, specs.LinuxResources{}, "set the memory limit too"},
		"swap, memory unlimited":     {Limits{MemoryBytes: ptr[int64](-1), MemorySwapBytes: ptr[int64](1 << 20)}, specs.LinuxResources{}, "set the memory limit too"},
		"cpus":                       {Limits{CPUs: ptr(0.001)}, specs.LinuxResources{}, "0.01 to 8192"},
		"burst":                      {Limits{CPUs: ptr(0.5)}, specs.LinuxResources{CPU: &specs.LinuxCPU{Burst: ptr[uint64](50001)}}, "lower the burst"},
		"cpu not there":              {Limits{Cpuset: "0,8190"}, specs.LinuxResources{}, "CPU 8190 isn't online here; choose from 0"},
		"cpuset malformed":           {Limits{Cpuset: "x"}, specs.LinuxResources{}, "write something like 0-2,7"},
		"pids":                       {Limits{Pids: ptr[int64](0)}, specs.LinuxResources{}, "1 to 4194304"},
		"no device":                  {Limits{IOMax: []IOMax{{Device: "/dev/absent", RBps: one}}}, specs.LinuxResources{}, "no such file"},
		"character device":           {Limits{IOMax: []IOMax{{Device: "/dev/null", RBps: one}}}, specs.LinuxResources{}, "no block device"},
		"directory":                  {Limits{IOMax: []IOMax{{Device: "/", RBps: one}}}, specs.LinuxResources{}, "no block device"},
		"no such numbers":            {Limits{IOMax: []IOMax{{Device: "4095:1048575", RBps: one}}}, specs.LinuxResources{}, "no block device 4095:1048575"},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := json.Marshal(test.in)
			err := test.limits.Apply(&test.in)
			checkInvalid(t, err, name, test.want)
			if after, _ := json.Marshal(test.in); string(after) != string(before) {
				t.Errorf("a failed Apply changed %s to %s", before, after)
			}
			if strings.Contains(err.Error(), "--") {
				t.Errorf("%q names a flag, but limits come from files too", err)
			}
		})
	}
}
