package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is an existing container's control group: one directory on v2, one in each hierarchy on v1, and
// on hybrid hosts also one in the v2 tree. It holds paths and no descriptors, so that it needs no
// closing, stays usable when the group is gone (Remove then does nothing) and can be opened again
// from paths saved on disk. Its methods may be called at the same time.
//
// The directories are the host's view. A container that has a cgroup mount can make groups below its
// own, but no symlinks and no files, so that walking them by path is safe.
type Group struct {
	// unified is the directory in the v2 tree, "" where there is none.
	unified string
	// v1 maps a controller ("memory", "name=systemd") to its directory; empty on v2.
	v1 map[string]string
}

// Open takes directories as libcontainer's Manager.GetPaths gives them: absolute, under the key "" the
// one in the v2 tree and under each v1 controller's name the one in its hierarchy. It reads nothing.
func Open(paths map[string]string) (*Group, error) {
	g := &Group{v1: map[string]string{}}
	for controller, dir := range paths {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return nil, fmt.Errorf("cannot open cgroup of controller %q at %q: not a clean absolute path", controller, dir)
		}
		if controller == "" {
			g.unified = dir
			continue
		}
		g.v1[controller] = dir
	}
	if len(paths) == 0 {
		return nil, errors.New("cannot open cgroup: no paths; a container without a cgroup has no limits or figures")
	}
	return g, nil
}

// isV2 says whether the controllers are on version 2.
func (g *Group) isV2() bool { return len(g.v1) == 0 }

// dirs returns every directory of the group once: v1 controllers may share a hierarchy (cpu,cpuacct)
// and be listed under two symlinked paths.
func (g *Group) dirs() []string {
	dirs := slices.Sorted(maps.Values(g.v1))
	if g.unified != "" {
		dirs = append(dirs, g.unified)
	}
	return slices.Compact(dirs)
}

// Existing returns the group's directories that are there: what Remove has to remove, and what is left
// when it failed.
func (g *Group) Existing() []string {
	var dirs []string
	for _, dir := range g.dirs() {
		if isDir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// file returns the path of a controller's file: v1 in the controller's own hierarchy, v2 in the one
// directory; "" when the group has no such controller.
func (g *Group) file(controller, v1, v2 string) string {
	if g.isV2() {
		if v2 == "" {
			return ""
		}
		return g.unified + "/" + v2
	}
	dir := g.v1[controller]
	if dir == "" || v1 == "" {
		return ""
	}
	return dir + "/" + v1
}

// CPUUsage returns the CPU time that the group has used, by one read of one file: it is made for
// polling. The error wraps ErrRemoved when the group is gone and ErrNotSupported when no CPU
// accounting reaches it.
func (g *Group) CPUUsage() (time.Duration, error) {
	// In the v2 tree cpu.stat is there without any controller.
	if path := g.file("cpuacct", "cpuacct.usage", ""); path != "" {
		text, err := readFile(path)
		if err != nil {
			return 0, removedError(path, err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse %s: %w", path, err)
		}
		return time.Duration(n), nil
	}
	if g.unified == "" {
		return 0, fmt.Errorf("cannot read CPU use: the container is in no cpuacct group; mount the cpuacct controller: %w", ErrNotSupported)
	}
	path := g.unified + "/cpu.stat"
	text, err := readFile(path)
	if err != nil {
		return 0, removedError(path, err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("parse %s: %w", path, err)
			}
			return time.Duration(n) * time.Microsecond, nil
		}
	}
	return 0, fmt.Errorf("read %s: no usage_usec: %w", path, ErrNotSupported)
}

// removedError tells a removed group from other failures to read one of its files.
func removedError(path string, err error) error {
	if !isGone(err) {
		return err
	}
	if _, statErr := os.Stat(filepath.Dir(path)); statErr == nil {
		return fmt.Errorf("read %s: %w", path, ErrNotSupported)
	}
	return fmt.Errorf("read %s: %w", path, ErrRemoved)
}

// Processes returns the ids of all processes in the group and the groups below it, in rising order, in
// the caller's PID namespace. A process that this namespace doesn't see is listed as 0, once. No
// processes and no group both give an empty list.
func (g *Group) Processes() ([]int, error) {
	var pids []int
	for _, dir := range g.processDirs() {
		err := walkDirs(dir, func(dir string) error {
			var err error
			pids, err = appendProcs(pids, dir)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %s: %w", dir, err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// processDirs returns the directories whose process lists matter. The v2 tree knows every process; on
// v1 a privileged process can move itself to another group in single hierarchies, so all are read.
func (g *Group) processDirs() []string {
	if g.isV2() {
		return []string{g.unified}
	}
	return g.dirs()
}

func appendProcs(pids []int, dir string) ([]int, error) {
	text, err := readFile(dir + "/cgroup.procs")
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A threaded group has no list of processes of its own: those are in its domain's.
		return pids, nil
	}
	if err != nil {
		if isGone(err) {
			return pids, nil
		}
		return pids, err
	}
	for line := range strings.Lines(text) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return pids, fmt.Errorf("parse %s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
