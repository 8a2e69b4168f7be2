package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is how a host lays out cgroups.
type Mode string

const (
	// Unified is cgroup v2 alone at /sys/fs/cgroup.
	Unified Mode = "unified"
	// Hybrid is v1 controllers below /sys/fs/cgroup and a v2 tree at /sys/fs/cgroup/unified.
	Hybrid Mode = "hybrid"
	// Legacy is v1 alone.
	Legacy Mode = "legacy"
)

const defaultRoot = "/sys/fs/cgroup"

// Host is the cgroup layout of this host. It doesn't change after Detect and may be used by several
// goroutines.
type Host struct {
	Mode Mode
	// Root is where the hierarchies are mounted: /sys/fs/cgroup.
	Root string

	// procDir is /proc, or a fixture in tests.
	procDir string
	// fixture says that Root is an ordinary directory, so that file system types mean nothing.
	fixture bool
}

// Detect looks at /sys/fs/cgroup with one or two statfs calls and decides as libcontainer does. The
// error wraps ErrNoCgroups when nothing is mounted there.
func Detect() (*Host, error) {
	host := &Host{Root: defaultRoot, procDir: "/proc"}
	magic, err := filesystemType(defaultRoot)
	if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w; mount cgroup2 there: %w", defaultRoot, err, ErrNoCgroups)
	}
	if magic == unix.CGROUP2_SUPER_MAGIC {
		host.Mode = Unified
		return host, nil
	}
	if magic != unix.TMPFS_MAGIC {
		return nil, fmt.Errorf("cannot find cgroups: nothing is mounted on %s; run `mount -t cgroup2 none %s`: %w", defaultRoot, defaultRoot, ErrNoCgroups)
	}
	host.Mode = Legacy
	if magic, err := filesystemType(defaultRoot + "/unified"); err == nil && magic == unix.CGROUP2_SUPER_MAGIC {
		host.Mode = Hybrid
	}
	return host, nil
}

func filesystemType(path string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("statfs %s: %w", path, err)
		}
		return int64(st.Type), nil //nolint:unconvert // an int32 or uint32 on some architectures
	}
}

// Group returns the group at path ("/sandboxrun/env-x") in every hierarchy of this host, whether or not
// it exists there. With it a group can be killed and removed from its path alone. The root is refused
// (ErrHierarchyRoot), and so is a path that isn't absolute and clean.
func (h *Host) Group(path string) (*Group, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, fmt.Errorf("cannot use cgroup path %q: not a clean absolute path; write it like /sandboxrun/name", path)
	}
	if path == "/" {
		return nil, fmt.Errorf("cgroup path /: %w", ErrHierarchyRoot)
	}
	if h.Mode == Unified {
		return Open(map[string]string{"": h.Root + path})
	}
	entries, err := os.ReadDir(h.Root)
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	paths := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() {
			continue // a symlink such as cpu -> cpu,cpuacct
		}
		dir := h.Root + "/" + e.Name() + path
		switch e.Name() {
		case "unified":
			if h.Mode == Hybrid {
				paths[""] = dir
			}
		case "systemd":
			paths["name=systemd"] = dir
		default:
			for controller := range strings.SplitSeq(e.Name(), ",") {
				paths[controller] = dir
			}
		}
	}
	if len(paths) == 0 {
		return nil, errors.New("cannot find a cgroup hierarchy in " + h.Root)
	}
	return Open(paths)
}
