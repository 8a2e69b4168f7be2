package runtime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// errNoPIDNamespace: nothing else tells which processes are the container's.
var errNoPIDNamespace = errors.New("without a cgroup it needs a PID namespace of its own, by which all its processes end; " +
	"add one to linux.namespaces, or use another --cgroup-manager")

// errSharedPIDs keeps everybody else's processes from being taken for a
// container's.
var errSharedPIDs = errors.New("it has neither a cgroup nor a PID namespace of its own, by which its processes could be told")

// withoutCgroup returns a copy of spec that asks for no cgroup. Its limits have
// nothing to hold them: they are dropped with a warning, since engines write
// some into every spec. Rules on devices are dropped silently: every spec has
// them.
func (r *Runtime) withoutCgroup(spec *specs.Spec) *specs.Spec {
	if spec.Linux == nil {
		return spec
	}
	copied, linux := *spec, *spec.Linux
	if linux.Resources != nil {
		limits := *linux.Resources
		limits.Devices = nil
		if names := setMembers(limits); len(names) > 0 {
			r.log.Warn("the container has no cgroup; ignoring limits of its spec", "linux.resources", strings.Join(names, ", "))
		}
	}
	linux.Resources, linux.CgroupsPath = nil, ""
	copied.Linux = &linux
	return &copied
}

// setMembers names the members of resources that are set, as JSON has them.
func setMembers(resources specs.LinuxResources) []string {
	var names []string
	value := reflect.ValueOf(resources)
	for i := range value.NumField() {
		if field := value.Field(i); !field.IsZero() && (field.Kind() != reflect.Slice && field.Kind() != reflect.Map || field.Len() > 0) {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// disableCgroup: libcontainer has no manager that does nothing. On v2 its
// manager goes on without a cgroup where it may ignore errors and cannot make
// the directory, and the kernel makes none with a newline in its name.
func disableCgroup(config *configs.Config) error {
	if !config.Namespaces.IsPrivate(configs.NEWPID) {
		return errNoPIDNamespace
	}
	if cgroups.IsCgroup2UnifiedMode() {
		config.Cgroups.Name += "\n"
	}
	return nil
}

// forgetCgroups: on v1 libcontainer's manager works on the directories of the
// map that its state has, and does nothing for a controller that is not in it.
func forgetCgroups(state *libcontainer.State) {
	clear(state.CgroupPaths)
}

// namespaceProcesses returns the process IDs of a container without a cgroup,
// sorted: all in its PID namespace, and their descendants, which may have made
// more of them.
func namespaceProcesses(first int) ([]int, error) {
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(first) + "/ns/pid")
	if errors.Is(err, os.ErrNotExist) {
		return []int{}, nil
	}
	if err != nil {
		return nil, err
	}
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own == namespace {
		return nil, errors.Join(errSharedPIDs, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	parents, inside := map[int]int{}, map[int]bool{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		// One that ends meanwhile is none of the list.
		if ns, err := os.Readlink(dir + "/ns/pid"); err == nil && ns == namespace {
			inside[pid] = true
		}
		if fields, err := statFields(pid); err == nil {
			parents[pid], _ = strconv.Atoi(fields[4-firstStatField])
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if inside[parent] && !inside[pid] {
				inside[pid], grown = true, true
			}
		}
	}
	return slices.Sorted(maps.Keys(inside)), nil
}

// processesWithoutCgroup lists those of a container that was made without one.
func (c *Container) processesWithoutCgroup() ([]int, error) {
	if !c.hasOwnPIDNamespace() {
		return nil, fmt.Errorf("list processes of container %q: %w", c.id, errSharedPIDs)
	}
	state, err := c.lc.State()
	if err != nil {
		return nil, fmt.Errorf("read state of container %q: %w", c.id, err)
	}
	if err := c.mustLive(); errors.Is(err, ErrNotRunning) {
		return []int{}, nil
	} else if err != nil {
		return nil, err
	}
	pids, err := namespaceProcesses(state.InitProcessPid)
	if err != nil {
		return nil, fmt.Errorf("list processes of container %q: %w", c.id, err)
	}
	return pids, nil
}
