package main

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// limitFlags are those of run, create and update. They win over --limit-file, and that
// over the bundle.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "memory", Usage: "hold memory to this `SIZE`, such as 64M", Category: limitCategory},
		&cli.StringFlag{Name: "memory-swap", Usage: "hold memory and swap together to this `SIZE`; -1 for unlimited swap", Category: limitCategory},
		&cli.StringFlag{Name: "cpus", Usage: "hold CPU time to this `NUMBER` of CPUs; 0.5 is half of one", Category: limitCategory},
		&cli.StringFlag{Name: "cpuset", Usage: "run on the CPUs of this `LIST` only, such as 0-2,7", Category: limitCategory},
		&cli.StringFlag{Name: "pids", Usage: "hold processes and threads to this `NUMBER`", Category: limitCategory},
		&cli.StringSliceFlag{Name: "io-max", Usage: "hold I/O on a block device to `DEV:RATES`, such as /dev/sda:rbps=1M,wiops=100; may be repeated", Category: limitCategory},
		&cli.StringFlag{Name: "limit-file", Usage: "read limits from a YAML or JSON `FILE`", Category: limitCategory},
		&cli.BoolFlag{Name: "allow-missing-controllers", Usage: "go on without the limits that this host cannot enforce", Category: limitCategory},
	}
}

// timeFlags are limits that need a supervisor: run has them, create has not.
func timeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "wall-time", Usage: "end the sandbox after this `TIME`, such as 30s", Category: limitCategory},
		&cli.StringFlag{Name: "cpu-time", Usage: "end the sandbox after this much CPU `TIME`, such as 10s", Category: limitCategory},
	}
}

const limitCategory = "LIMITS"

// parseLimits reads the limit flags and the limit file.
func parseLimits(c *cli.Context) (cgroup.Limits, error) {
	fromFlags, err := parseLimitFlags(c)
	if err != nil {
		return cgroup.Limits{}, err
	}
	path := c.String("limit-file")
	if path == "" {
		return fromFlags, nil
	}
	fromFile, err := cgroup.LoadLimits(path)
	if err != nil {
		return cgroup.Limits{}, err
	}
	return fromFlags.Over(fromFile), nil
}

func parseLimitFlags(c *cli.Context) (cgroup.Limits, error) {
	var l cgroup.Limits
	err := errors.Join(
		parseFlag(c, "memory", &l.MemoryBytes, pointer(cgroup.ParseBytes)),
		parseFlag(c, "memory-swap", &l.MemorySwapBytes, pointer(cgroup.ParseBytes)),
		parseFlag(c, "cpus", &l.CPUs, pointer(cgroup.ParseCPUs)),
		parseFlag(c, "cpuset", &l.Cpuset, cgroup.ParseCpuset),
		parseFlag(c, "pids", &l.Pids, pointer(cgroup.ParsePids)),
		parseFlag(c, "wall-time", &l.WallTime, cgroup.ParseTime),
		parseFlag(c, "cpu-time", &l.CPUTime, cgroup.ParseTime),
	)
	for _, value := range c.StringSlice("io-max") {
		limit, parseErr := cgroup.ParseIOMax(value)
		if parseErr != nil {
			err = errors.Join(err, commandline.Usagef("--io-max: %v", parseErr))
			continue
		}
		l.IOMax = append(l.IOMax, limit)
	}
	return l, err
}

// parseFlag parses the flag's value into to, if it was given.
func parseFlag[T any](c *cli.Context, name string, to *T, parse func(string) (T, error)) error {
	if !c.IsSet(name) {
		return nil
	}
	value, err := parse(c.String(name))
	if err != nil {
		return commandline.Usagef("--%s: %v", name, err)
	}
	*to = value
	return nil
}

func pointer[T any](parse func(string) (T, error)) func(string) (*T, error) {
	return func(s string) (*T, error) {
		value, err := parse(s)
		return &value, err
	}
}

// applyLimits puts limits into the spec and compares all of the spec's limits
// with what this host can enforce. It returns what had to be dropped.
func (inv *invocation) applyLimits(spec *specs.Spec, limits cgroup.Limits, allowMissing bool) ([]cgroup.Missing, error) {
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	if spec.Linux.Resources == nil {
		spec.Linux.Resources = &specs.LinuxResources{}
	}
	if inv.runtime.NoCgroups() && needsCgroup(limits) {
		return nil, commandline.Usagef("a limit other than --wall-time needs a cgroup, and --cgroup-manager disabled makes none; leave one of them out")
	}
	resources := spec.Linux.Resources
	if err := limits.Apply(resources); err != nil {
		return nil, err
	}
	if inv.runtime.NoCgroups() {
		return nil, nil
	}
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	path := spec.Linux.CgroupsPath
	if path == "" && inv.runtime.SystemdCgroup() {
		path = cgroup.SystemdPath
	}
	missing := host.Missing(resources, path, inv.runtime.RootlessCgroups())
	if len(missing) == 0 {
		return nil, nil
	}
	if !allowMissing {
		return nil, fmt.Errorf("%s; or run without by --allow-missing-controllers", missing[0])
	}
	for _, m := range missing {
		inv.log.Warn("running without a limit", "reason", m.String())
	}
	host.Drop(resources, missing)
	return missing, nil
}

// needsCgroup: the supervisor alone holds a limit on wall time.
func needsCgroup(limits cgroup.Limits) bool {
	limits.WallTime = 0
	return !reflect.ValueOf(limits).IsZero()
}
