package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// updateTimeout is how long an update waits for others of the same container.
const updateTimeout = 10 * time.Second

func (inv *invocation) updateCommand() *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "change the limits of a container that runs",
		ArgsUsage: "ID",
		Description: `What no flag names stays as it is. The new limits are saved with the container.

--resources reads the JSON of linux.resources in config.json, or a part of it:

   {"memory": {"limit": 67108864, "checkBeforeUpdate": true}, "cpu": {"quota": 50000}}

EXAMPLES:
   sandboxrun update --memory 128M --pids-limit 64 web
   sandboxrun update --cpus 0.5 web
   echo '{"cpu": {"shares": 512}}' | sandboxrun update -r - web`,
		Flags: join(updateFlags(), changeableLimits(), []cli.Flag{
			&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "read the limits from the JSON `FILE`, - for stdin; no other limits then"},
			&cli.StringFlag{Name: "l3-cache-schema", Usage: "the Intel RDT/CAT L3 cache `SCHEMA`"},
			&cli.StringFlag{Name: "mem-bw-schema", Usage: "the Intel RDT/MBA memory bandwidth `SCHEMA`"},
		}),
		Action: inv.updateAction,
	}
}

// updateFlags are runc's, beside those that limitFlags has.
func updateFlags() []cli.Flag {
	flags := []cli.Flag{}
	for _, f := range updateFields() {
		flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage, Category: limitCategory, Hidden: f.usage == ""})
	}
	return flags
}

// changeableLimits are the limit flags but the one that lets a limit be dropped.
func changeableLimits() []cli.Flag {
	return slices.DeleteFunc(limitFlags(), func(f cli.Flag) bool { return f.Names()[0] == "allow-missing-controllers" })
}

// updateField is a flag of runc's update and the member of resources that it sets.
type updateField struct {
	name, usage string
	set         func(r *specs.LinuxResources, value string) error
}

func updateFields() []updateField {
	return []updateField{
		{"memory-reservation", "the memory's soft limit, a `SIZE`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.Memory.Reservation, v, cgroup.ParseBytes)
		}},
		{"kernel-memory", "", ignoreKernelMemory},
		{"kernel-memory-tcp", "", ignoreKernelMemory},
		{"cpu-period", "the period of the CPU quota in `MICROSECONDS`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.Period, v, parseUnsigned)
		}},
		{"cpu-quota", "CPU time in each period in `MICROSECONDS`, -1 for no limit", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.Quota, v, parseSigned)
		}},
		{"cpu-burst", "CPU time that may be saved up for a burst, in `MICROSECONDS`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.Burst, v, parseUnsigned)
		}},
		{"cpu-share", "the `SHARES` of CPU time relative to other groups, from 2 to 262144", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.Shares, v, parseUnsigned)
		}},
		{"cpu-rt-period", "the period of the realtime limit in `MICROSECONDS`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.RealtimePeriod, v, parseUnsigned)
		}},
		{"cpu-rt-runtime", "realtime CPU time in each period in `MICROSECONDS`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.RealtimeRuntime, v, parseSigned)
		}},
		{"cpu-idle", "1 to run only when nobody else does, 0 for as usual; `0|1`", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.CPU.Idle, v, parseSigned)
		}},
		{"cpuset-cpus", "the CPUs of this `LIST` only, as --cpuset", func(r *specs.LinuxResources, v string) (err error) {
			r.CPU.Cpus, err = cgroup.ParseCpuset(v)
			return err
		}},
		{"cpuset-mems", "the memory nodes of this `LIST` only", func(r *specs.LinuxResources, v string) error {
			r.CPU.Mems = v
			return nil
		}},
		{"blkio-weight", "the `WEIGHT` of I/O relative to other groups, from 10 to 1000", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.BlockIO.Weight, v, parseWeight)
		}},
		{"pids-limit", "hold processes and threads to this `NUMBER`, as --pids; -1 for no limit", func(r *specs.LinuxResources, v string) error {
			return setParsed(&r.Pids.Limit, v, parseSigned)
		}},
	}
}

func ignoreKernelMemory(*specs.LinuxResources, string) error { return nil }

func setParsed[T any](to **T, value string, parse func(string) (T, error)) error {
	parsed, err := parse(value)
	*to = &parsed
	return err
}

func parseUnsigned(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number from 0 up", s)
	}
	return n, nil
}

func parseSigned(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", s)
	}
	return n, nil
}

func parseWeight(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n != 0 && (n < 10 || n > 1000) {
		return 0, fmt.Errorf("%q is no whole number from 10 to 1000", s)
	}
	return uint16(n), nil
}

func (inv *invocation) updateAction(c *cli.Context) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	resources, err := inv.newResources(c)
	if err != nil {
		return err
	}
	container, err := inv.runtime.Load(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(c.Context, updateTimeout, errors.New("another update goes on"))
	defer cancel()
	return container.Update(ctx, runtime.UpdateOptions{
		Resources:     *resources,
		L3CacheSchema: c.String("l3-cache-schema"),
		MemBwSchema:   c.String("mem-bw-schema"),
	})
}

// newResources reads what is to be changed, from the file or from the flags.
func (inv *invocation) newResources(c *cli.Context) (*specs.LinuxResources, error) {
	if path := c.String("resources"); path != "" {
		if name := otherLimit(c); name != "" {
			return nil, commandline.Usagef("--%s and --resources exclude each other; put the limit into the file", name)
		}
		return inv.readResources(path)
	}
	limits, err := parseLimits(c)
	if err != nil {
		return nil, err
	}
	if limits.WallTime > 0 || limits.CPUTime > 0 {
		return nil, commandline.Usagef("a limit on wall or CPU time cannot be changed; it is the supervisor's")
	}
	// The container has a memory limit already, perhaps.
	swapAlone := limits.MemorySwapBytes
	if limits.MemoryBytes == nil {
		limits.MemorySwapBytes = nil
	} else {
		swapAlone = nil
	}
	r := &specs.LinuxResources{}
	if err := limits.Apply(r); err != nil {
		return nil, err
	}
	fillResources(r)
	if swapAlone != nil {
		r.Memory.Swap = swapAlone
	}
	for _, f := range updateFields() {
		value := c.String(f.name)
		if value == "" {
			continue
		}
		if strings.HasPrefix(f.name, "kernel-memory") {
			inv.log.Warn("a limit on kernel memory is ignored: kernels have none any more", "flag", f.name)
		}
		if err := f.set(r, value); err != nil {
			return nil, commandline.Usagef("--%s: %v", f.name, err)
		}
	}
	return r, nil
}

// fillResources makes the members that flags are written to.
func fillResources(r *specs.LinuxResources) {
	if r.Memory == nil {
		r.Memory = &specs.LinuxMemory{}
	}
	if r.CPU == nil {
		r.CPU = &specs.LinuxCPU{}
	}
	if r.BlockIO == nil {
		r.BlockIO = &specs.LinuxBlockIO{}
	}
	if r.Pids == nil {
		r.Pids = &specs.LinuxPids{}
	}
}

// otherLimit returns the name of a limit flag that was given, if any.
func otherLimit(c *cli.Context) string {
	for _, flag := range join(updateFlags(), changeableLimits()) {
		if name := flag.Names()[0]; c.IsSet(name) {
			return name
		}
	}
	return ""
}

// readResources reads JSON as runc does: unknown members and what follows the
// object are ignored, because engines write for many versions.
func (inv *invocation) readResources(path string) (*specs.LinuxResources, error) {
	in := inv.streams.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read --resources: %w", err)
		}
		defer file.Close()
		in = file
	}
	if in == nil {
		in = strings.NewReader("")
	}
	r := &specs.LinuxResources{}
	if err := json.NewDecoder(io.LimitReader(in, maxResourcesBytes)).Decode(r); err != nil {
		return nil, fmt.Errorf("cannot read resources from %q: %w; write JSON as in linux.resources of config.json", path, err)
	}
	return r, nil
}

// maxResourcesBytes bounds what is read of a file of resources.
const maxResourcesBytes = 8 << 20
