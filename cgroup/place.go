package cgroup

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
)

// Paths returns the group's directories as Open takes them, for a record on disk.
func (g *Group) Paths() map[string]string {
	paths := maps.Clone(g.v1)
	if g.unified != "" {
		paths[""] = g.unified
	}
	return paths
}

// Place returns the path, for Group and linux.cgroupsPath, of a group called name that is held by what
// holds the caller, as far as one path can be: on v2 it is beside the caller's own group, whose
// processes forbid it to have limited groups below (libcontainer chooses the same); on v1 it is below
// the deepest group that the caller's groups in all hierarchies have in common.
func (h *Host) Place(name string) (string, error) {
	text, err := readFile(h.procDir + "/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find own cgroup: %w", err)
	}
	common := ""
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 || !filepath.IsAbs(fields[2]) {
			return "", fmt.Errorf("find own cgroup: %s/self/cgroup has the line %q", h.procDir, line)
		}
		isV2 := fields[1] == ""
		switch own := filepath.Clean(fields[2]); {
		case isV2 != (h.Mode == Unified):
		case isV2:
			common = filepath.Dir(own)
		case common == "":
			common = own
		default:
			common = commonParent(common, own)
		}
	}
	if common == "" || !h.hasEverywhere(common) {
		common = "/" // a cgroup mount whose root is not the hierarchy's shows other paths than /proc
	}
	return filepath.Join(common, name), nil
}

// commonParent returns the deepest path that both are, or are below.
func commonParent(a, b string) string {
	for a != "/" && a != b && !strings.HasPrefix(b, a+"/") {
		a = filepath.Dir(a)
	}
	return a
}

func (h *Host) hasEverywhere(path string) bool {
	if path == "/" {
		return true
	}
	group, err := h.Group(path)
	return err == nil && len(group.Existing()) == len(group.dirs())
}
