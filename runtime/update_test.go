package runtime

import (
	"reflect"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestResourcesAreMerged(t *testing.T) {
	weight := uint16(200)
	device := specs.LinuxWeightDevice{Weight: &weight}
	device.Major, device.Minor = 8, 0
	rate := specs.LinuxThrottleDevice{Rate: 5}
	rate.Major, rate.Minor = 8, 16
	tests := []struct {
		name   string
		before cgroups.Resources
		change specs.LinuxResources
		after  cgroups.Resources
	}{
		{
			"nothing keeps everything but the keys that the kernel has",
			cgroups.Resources{Memory: 1, CpuQuota: 2, CpuPeriod: 3, CpusetCpus: "0", PidsLimit: new(int64(4)), CPUIdle: new(int64(1)), Unified: map[string]string{"memory.high": "5"}},
			specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{}},
			cgroups.Resources{Memory: 1, CpuQuota: 2, CpuPeriod: 3, CpusetCpus: "0", PidsLimit: new(int64(4)), CPUIdle: new(int64(1))},
		},
		{
			"a quota alone keeps the period",
			cgroups.Resources{CpuQuota: 50, CpuPeriod: 100},
			specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(-1)), Period: new(uint64(0))}},
			cgroups.Resources{CpuQuota: -1, CpuPeriod: 100},
		},
		{
			"unlimited memory takes the limit on swap along",
			cgroups.Resources{Memory: 1 << 20, MemorySwap: 2 << 20, MemoryCheckBeforeUpdate: true},
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(-1))}},
			cgroups.Resources{Memory: -1, MemoryCheckBeforeUpdate: true},
		},
		{
			"the check before an update can be switched off",
			cgroups.Resources{MemoryCheckBeforeUpdate: true},
			specs.LinuxResources{Memory: &specs.LinuxMemory{CheckBeforeUpdate: new(false), Reservation: new(int64(7)), Swap: new(int64(-1))}},
			cgroups.Resources{MemoryReservation: 7, MemorySwap: -1},
		},
		{
			"an idle group has no weight",
			cgroups.Resources{CpuShares: 1024, CpuWeight: 39},
			specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: new(int64(1))}},
			cgroups.Resources{CPUIdle: new(int64(1))},
		},
		{
			"shares become a weight, zero is a burst",
			cgroups.Resources{CpuBurst: new(uint64(9))},
			specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: new(uint64(1024)), Burst: new(uint64(0)), Cpus: "1", Mems: "0"}},
			cgroups.Resources{CpuShares: 1024, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(1024), CpuBurst: new(uint64(0)), CpusetCpus: "1", CpusetMems: "0"},
		},
		{
			"devices are changed where they are and added where not",
			cgroups.Resources{
				BlkioWeightDevice:          []*cgroups.WeightDevice{cgroups.NewWeightDevice(8, 0, 100, 50)},
				BlkioThrottleReadBpsDevice: []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 16, 1)},
			},
			specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
				Weight: &weight, WeightDevice: []specs.LinuxWeightDevice{device},
				ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{rate}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{rate},
			}},
			cgroups.Resources{
				BlkioWeight:                  200,
				BlkioWeightDevice:            []*cgroups.WeightDevice{cgroups.NewWeightDevice(8, 0, 200, 50)},
				BlkioThrottleReadBpsDevice:   []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 16, 5)},
				BlkioThrottleWriteIOPSDevice: []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 16, 5)},
			},
		},
		{
			"huge pages by their size, keys as they come",
			cgroups.Resources{HugetlbLimit: []*cgroups.HugepageLimit{{Pagesize: "2MB", Limit: 1}}},
			specs.LinuxResources{
				HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}, {Pagesize: "1GB", Limit: 2}},
				Unified:        map[string]string{"memory.high": "6"},
			},
			cgroups.Resources{
				HugetlbLimit: []*cgroups.HugepageLimit{{Pagesize: "2MB", Limit: 0}, {Pagesize: "1GB", Limit: 2}},
				Unified:      map[string]string{"memory.high": "6"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			original := cloneResources(&tt.before)
			got := cloneResources(&tt.before)
			mergeResources(got, &tt.change)
			if !reflect.DeepEqual(*got, tt.after) {
				t.Errorf("mergeResources() = %+v, want %+v", *got, tt.after)
			}
			if !reflect.DeepEqual(tt.before, *original) {
				t.Errorf("the original was changed: %+v, was %+v", tt.before, *original)
			}
		})
	}
}
