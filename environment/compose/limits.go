package compose

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
)

// parseID reads the number of a user or group; the highest means "none" to the kernel.
func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == math.MaxUint32 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// limits of the service, from its own keys and from deploy.resources, which must not say different things.
func (c *converter) limits(path []string, s types.ServiceConfig, out *service.Service) {
	var limits, reservations types.Resource
	if s.Deploy != nil {
		if s.Deploy.Resources.Limits != nil {
			limits = *s.Deploy.Resources.Limits
		}
		if s.Deploy.Resources.Reservations != nil {
			reservations = *s.Deploy.Resources.Reservations
		}
	}
	out.Limits.MemoryBytes = c.one(path, "mem_limit", "deploy.resources.limits.memory", int64(s.MemLimit), int64(limits.MemoryBytes))
	out.Limits.Pids = c.one(path, "pids_limit", "deploy.resources.limits.pids", s.PidsLimit, limits.Pids)
	if reserved := c.one(path, "mem_reservation", "deploy.resources.reservations.memory", int64(s.MemReservation), int64(reservations.MemoryBytes)); reserved != nil {
		out.MemoryReservation = *reserved
	}
	if s.MemSwapLimit != 0 {
		swap := int64(s.MemSwapLimit)
		out.Limits.MemorySwapBytes = &swap
	}
	c.cpus(path, s, limits, out)
	out.Limits.Cpuset = s.CPUSet
	if s.CPUShares != 0 {
		out.CPUShares = uint64(s.CPUShares)
		if s.CPUShares < 2 || s.CPUShares > 262144 {
			c.addf(child(path, "cpu_shares"), "it must be from 2 to 262144, not %d", s.CPUShares)
		}
	}
	out.ShmSize = int64(s.ShmSize)
	if s.OomScoreAdj != 0 {
		score := int(s.OomScoreAdj)
		out.OOMScoreAdj = &score
	}
	if r := out.MemoryReservation; out.Limits.MemoryBytes != nil && r > *out.Limits.MemoryBytes && *out.Limits.MemoryBytes > 0 {
		c.addf(path, "the memory that is kept for it, %d bytes, is more than its limit, %d", r, *out.Limits.MemoryBytes)
	}
	if swap := out.Limits.MemorySwapBytes; swap != nil && *swap > 0 && (out.Limits.MemoryBytes == nil || *swap < *out.Limits.MemoryBytes) {
		c.addf(child(path, "memswap_limit"), "it bounds memory and swap together: set mem_limit, to at most as much")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		out.Ulimits = append(out.Ulimits, c.ulimit(path, name, *s.Ulimits[name]))
	}
}

// one returns the value of two keys that mean the same; nil where neither is set.
func (c *converter) one(path []string, short, long string, a, b int64) *int64 {
	switch {
	case a == 0 && b == 0:
		return nil
	case a != 0 && b != 0 && a != b:
		c.addf(child(path, short), "it says %d and %s says %d; leave one of them out", a, long, b)
	case a == 0:
		a = b
	}
	return &a
}

func (c *converter) cpus(path []string, s types.ServiceConfig, limits types.Resource, out *service.Service) {
	// They are float32 in the library: 0.1 would be 0.10000000149.
	short, long := shortest(float32(s.CPUS)), shortest(limits.NanoCPUs.Value())
	switch {
	case short != 0 && long != 0 && short != long:
		c.addf(child(path, "cpus"), "it says %g and deploy.resources.limits.cpus says %g; leave one of them out", short, long)
	case short == 0:
		short = long
	}
	if s.CPUQuota > 0 {
		period := s.CPUPeriod
		if period == 0 {
			period = 100_000 // the kernel's
		}
		if short != 0 {
			c.addf(child(path, "cpu_quota"), "cpus is set too; leave one of them out")
		}
		short = float64(s.CPUQuota) / float64(period)
	}
	if short != 0 {
		if _, err := cgroup.ParseCPUs(strconv.FormatFloat(short, 'f', -1, 64)); err != nil {
			c.addf(child(path, "cpus"), "%v", err)
		}
		out.Limits.CPUs = &short
	}
}

// shortest is the number that was written.
func shortest(f float32) float64 {
	value, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	return value
}

func (c *converter) ulimit(path []string, name string, u types.UlimitsConfig) service.Ulimit {
	path = append(child(path, "ulimits"), name)
	if !slices.Contains([]string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}, name) {
		c.addf(path, "%q is no limit of setrlimit(2)", name)
	}
	soft, hard := u.Soft, u.Hard
	if u.Single != 0 {
		soft, hard = u.Single, u.Single
	}
	out := service.Ulimit{Name: name, Soft: bound(soft), Hard: bound(hard)}
	if out.Soft > out.Hard {
		c.addf(path, "the soft limit %d is higher than the hard one, %d", soft, hard)
	}
	return out
}

func bound(n int) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}

func (c *converter) replicas(path []string, s types.ServiceConfig) int {
	deploy := s.Deploy
	if deploy == nil {
		deploy = &types.DeployConfig{}
	}
	switch deploy.Mode {
	case "", "replicated":
	case "global":
		return 1
	default:
		c.refusef(append(child(path, "deploy"), "mode"), "%q is not supported; write replicated, or leave it out", deploy.Mode)
	}
	if s.Scale != nil && deploy.Replicas != nil && *s.Scale != *deploy.Replicas {
		c.addf(child(path, "scale"), "it says %d and deploy.replicas says %d; leave one of them out", *s.Scale, *deploy.Replicas)
	}
	return s.GetScale()
}
