package leftovers

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names returns the names in a directory, sorted; none if it cannot be read.
func Names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Cgroups returns the control groups' directories of all hierarchies for which
// ours holds, parents first.
func Cgroups(ours func(dir string) bool) []string {
	var found []string
	//nolint:errcheck // groups of others vanish meanwhile
	filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && ours(path) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// Mount is a line of mountinfo, and in it the place.
type Mount struct{ Line, Point string }

// Mounts returns the caller's mounts, in their order. It panics without /proc,
// where no test says anything.
func Mounts() []Mount {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	var found []Mount
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			found = append(found, Mount{Line: strings.TrimSpace(line), Point: fields[4]})
		}
	}
	return found
}

// Interfaces returns the names of the interfaces in the caller's network
// namespace, sorted.
func Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return names, nil
}

// HasName finds id in text, but not as the beginning of a longer number.
func HasName(text, id string) bool {
	for {
		_, rest, found := strings.Cut(text, id)
		if !found {
			return false
		}
		if rest == "" || rest[0] < '0' || rest[0] > '9' {
			return true
		}
		text = rest
	}
}
