package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/cgroups"
)

// giveCgroup lets the container's user own its cgroup v2 directory and the files
// that the kernel means for such an owner, where the spec makes the group
// writable in a cgroup namespace of its own (runtime-spec, config-linux.md,
// "Cgroup ownership"). libcontainer does so with systemd only. The program must
// not run yet.
func (c *Container) giveCgroup() error {
	config := c.lc.Config()
	dir := c.cgroups[""]
	if config.Cgroups.OwnerUID == nil || config.Cgroups.Systemd || dir == "" || !cgroups.IsCgroup2UnifiedMode() {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) && config.RootlessCgroups {
		return nil // an ordinary user has no group to give
	}
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := delegatedFiles()
	if err != nil {
		return err
	}
	for _, name := range append([]string{"."}, names...) {
		// Some are those of controllers that the group lacks.
		if err := root.Lchown(name, *config.Cgroups.OwnerUID, -1); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give the cgroup to its user: %w", err)
		}
	}
	return nil
}

// delegatedFiles are those that the kernel names (cgroups(7), "Delegation"),
// before Linux 4.15 those of the first version.
func delegatedFiles() ([]string, error) {
	data, err := os.ReadFile("/sys/kernel/cgroup/delegate")
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}, nil
	}
	return strings.Fields(string(data)), err
}
