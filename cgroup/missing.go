package cgroup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Missing is a controller, or a part of one, that limits of a spec need and that is not there. Its JSON
// form is part of the exit report.
type Missing struct {
	// Controller is the kernel's name: "memory", "io" on v2 and "blkio" on v1, …
	Controller string `json:"controller"`
	// Limits are JSON paths in the spec, such as "linux.resources.memory.limit".
	Limits []string `json:"limits"`
	// Why is what this host lacks and Fix what would change that, each a clause for people.
	Why string `json:"why"`
	Fix string `json:"fix"`
}

// String says it in one line.
func (m Missing) String() string {
	return fmt.Sprintf("cannot enforce %s: %s; %s", strings.Join(m.Limits, ", "), m.Why, m.Fix)
}

// SystemdPath is a cgroupsPath in systemd's form without a name, for a container whose spec has none: systemd
// makes its group all the same.
const SystemdPath = "::"

// Missing tells which limits of r cannot be enforced on the group at cgroupsPath, nil when all can. It
// changes nothing and reads little: nothing for a spec without limits, else a few small files. The
// path is the spec's linux.cgroupsPath, read as libcontainer does: absolute below the mount, relative
// (or empty) to the parent of the caller's own group, or systemd's "slice:prefix:name". What the kernel
// would refuse for other reasons (a value out of range) is not covered.
func (h *Host) Missing(r *specs.LinuxResources, cgroupsPath string, rootless bool) []Missing {
	if r == nil {
		return nil
	}
	var found []Missing
	look := h.lookup(cgroupsPath, rootless)
	for _, d := range demands(r) {
		if d.needsRoot && rootless {
			continue
		}
		why, fix := look(d)
		if why == "" {
			continue
		}
		controller := d.controller(h.Mode)
		i := slices.IndexFunc(found, func(m Missing) bool { return m.Controller == controller && m.Why == why && m.Fix == fix })
		if i < 0 {
			found = append(found, Missing{Controller: controller, Why: why, Fix: fix})
			i = len(found) - 1
		}
		found[i].Limits = append(found[i].Limits, d.limit)
	}
	return found
}

// Drop takes the limits that missing names out of r, for callers that were told to go on without.
func (h *Host) Drop(r *specs.LinuxResources, missing []Missing) {
	if r == nil {
		return
	}
	for _, d := range demands(r) {
		for _, m := range missing {
			if slices.Contains(m.Limits, d.limit) {
				d.drop()
			}
		}
	}
}

// controller names the controller for people, also where this version has none for the limit.
func (d demand) controller(mode Mode) string {
	name, other := d.v1, d.v2
	if mode == Unified {
		name, other = d.v2, d.v1
	}
	if name == "" || name == noController {
		return other
	}
	return name
}

// lookup returns a function that tells why a demand cannot be met, "" when it can, and remembers what
// it read.
func (h *Host) lookup(cgroupsPath string, rootless bool) func(demand) (why, fix string) {
	if h.Mode == Unified {
		v2 := &lookupV2{host: h, cgroupsPath: cgroupsPath, rootless: rootless}
		return v2.look
	}
	v1 := &lookupV1{host: h, cgroupsPath: cgroupsPath}
	return v1.look
}

// ownGroup returns the caller's path in a hierarchy from /proc/self/cgroup, whose lines read
// "4:memory:/path", with an empty controller for v2; "/" when it cannot be told.
func (h *Host) ownGroup(controller string) string {
	text, err := readFile(h.procDir + "/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), controller) {
			return fields[2]
		}
	}
	return "/"
}

// kernelHas tells from /proc/cgroups what the kernel knows of a v1 controller: whether it lists it,
// whether it is switched on, and whether a v1 hierarchy holds it.
func (h *Host) kernelHas(controller string) (listed, enabled, onV1 bool) {
	text, err := readFile(h.procDir + "/cgroups")
	if err != nil {
		return false, false, false
	}
	if controller == "io" {
		controller = "blkio"
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 4 && fields[0] == controller {
			return true, fields[3] == "1", fields[1] != "0"
		}
	}
	return false, false, false
}

// kernelOption is the build option that a controller needs, for messages.
func kernelOption(controller string) string {
	option, ok := map[string]string{
		"memory": "CONFIG_MEMCG", "cpu": "CONFIG_CGROUP_SCHED", "cpuacct": "CONFIG_CGROUP_CPUACCT", "cpuset": "CONFIG_CPUSETS",
		"pids": "CONFIG_CGROUP_PIDS", "blkio": "CONFIG_BLK_CGROUP", "io": "CONFIG_BLK_CGROUP", "hugetlb": "CONFIG_CGROUP_HUGETLB",
		"net_cls": "CONFIG_CGROUP_NET_CLASSID", "net_prio": "CONFIG_CGROUP_NET_PRIO", "rdma": "CONFIG_CGROUP_RDMA",
		"devices": "CONFIG_CGROUP_DEVICE",
	}[controller]
	if !ok {
		return "it"
	}
	return option
}
