package equivalence_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// leftovers describes everything of the trial that exists on the machine.
func (tr *trial) leftovers() []string {
	var found []string
	for _, p := range tr.processes() {
		found = append(found, p.String())
	}
	for _, dir := range tr.cgroups() {
		found = append(found, "cgroup "+dir)
	}
	for _, mount := range tr.mounts() {
		found = append(found, "mount "+mount.Point)
	}
	for _, dir := range []string{tr.state, filepath.Join(tr.state, "containers"), filepath.Join(tr.state, "locks")} {
		for _, name := range leftovers.Names(dir) {
			if dir != tr.state || name != "containers" && name != "locks" {
				found = append(found, "state "+filepath.Join(dir, name))
			}
		}
	}
	return found
}

// processes finds those of the script by environment, a container's by cgroup
// and mounts.
func (tr *trial) processes() []leftovers.Process {
	return leftovers.Processes(func(p leftovers.Process) (by string) {
		switch {
		case p.HasVariable("DIR", func(value string) bool { return value == tr.dir }):
			return "environment"
		case strings.Contains(p.Groups(), tr.id):
			return "cgroup"
		case p.HasMountsBelow(tr.dir):
			return "mounts"
		}
		return ""
	})
}

// cgroups lists the trial's directories, the deepest last.
func (tr *trial) cgroups() []string {
	return leftovers.Cgroups(func(dir string) bool { return strings.Contains(filepath.Base(dir), tr.id) })
}

func (tr *trial) mounts() []leftovers.Mount {
	return slices.DeleteFunc(leftovers.Mounts(), func(m leftovers.Mount) bool { return !strings.HasPrefix(m.Point, tr.dir+"/") })
}

// sweep removes what was reported already, for the trials after this one.
func (tr *trial) sweep() {
	leftovers.KillAll(tr.processes, tr.cgroups) //nolint:errcheck // what lives on is reported again
	leftovers.Unmount(tr.mounts())
	leftovers.RemoveCgroups(tr.cgroups())
	os.RemoveAll(tr.state) //nolint:errcheck // reported already
}
