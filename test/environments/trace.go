package environments

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/network/egress"
	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// Trace says how one environment, or all of a test, are known from others'.
type Trace struct {
	Roots environment.Roots
	// Name is that of one environment, and empty for all whose names begin with Prefix.
	Name, Prefix string
	// Variable is the name of one that commands and what they run have, with the environment's name.
	Variable string
	// Dirs are directories besides the roots and the host's own for temporary files where its files may be.
	Dirs []string
}

// isName tells whether an environment is one of the trace.
func (t Trace) isName(name string) bool {
	if t.Name == "" {
		return strings.HasPrefix(name, t.Prefix)
	}
	return name == t.Name
}

// Process is a living process of an environment.
type Process struct {
	leftovers.Process
	Args  []string
	Group string // below the environment's control group; "" outside
}

func (p Process) String() string {
	return fmt.Sprintf("process %d %q in group %q, known by its %s", p.PID, p.Args, p.Group, p.By)
}

// groupPrefix begins the name of every environment's control group.
const groupPrefix = "/sandboxrun-env-"

// Processes finds the living ones: by name among their arguments, by control
// group, and by variable.
func (t Trace) Processes() []Process {
	var all []Process
	for _, p := range leftovers.Processes(t.recognise) {
		group, _ := t.groupOf(p)
		all = append(all, Process{p, p.Args(), group})
	}
	return all
}

func (t Trace) recognise(p leftovers.Process) (by string) {
	if slices.ContainsFunc(p.Args(), t.isName) {
		return "arguments"
	}
	if _, ours := t.groupOf(p); ours {
		return "control group"
	}
	if t.Variable != "" && p.HasVariable(t.Variable, t.isName) {
		return "environment"
	}
	return ""
}

// groupOf returns where below its environment's control group a process is.
func (t Trace) groupOf(p leftovers.Process) (group string, ours bool) {
	for line := range strings.Lines(p.Groups()) {
		if _, rest, found := strings.Cut(strings.TrimSpace(line), groupPrefix); found {
			if name, its, _ := strings.Cut(rest, "/"); t.isName(name) {
				group, ours = its, true
			}
		}
	}
	return group, ours
}

// Cgroups returns the control groups of all hierarchies, parents first.
func (t Trace) Cgroups() []string {
	return leftovers.Cgroups(func(dir string) bool {
		_, its, found := strings.Cut(dir, groupPrefix)
		its, _, _ = strings.Cut(its, "/")
		return found && t.isName(its)
	})
}

// Left describes everything that there is. Of all environments of a test it does
// not tell halves of egress, whose names are digests.
func (t Trace) Left() []string {
	var found []string
	for _, p := range t.Processes() {
		found = append(found, p.String())
	}
	for _, dir := range t.Cgroups() {
		found = append(found, "cgroup "+dir)
	}
	found = append(found, t.mounts()...)
	found = append(found, t.files()...)
	if t.Name != "" {
		found = append(found, t.onHost()...)
	}
	return append(found, t.leases()...)
}

func (t Trace) files() []string {
	var found []string
	for _, dir := range slices.Concat(rootsOfNames(t.Roots), t.Dirs, []string{"/tmp", "/run", "/dev/shm", "/var/tmp"}) {
		for _, name := range leftovers.Names(dir) {
			if t.isName(name) {
				found = append(found, "file "+filepath.Join(dir, name))
			}
		}
	}
	return found
}

// InRoots describes what roots that have no environment any more have all the same.
func InRoots(roots environment.Roots) []string {
	var found []string
	for _, dir := range rootsOfNames(roots) {
		for _, name := range leftovers.Names(dir) {
			found = append(found, "file "+filepath.Join(dir, name))
		}
	}
	return found
}

// rootsOfNames are the directories in which each environment has an entry.
func rootsOfNames(roots environment.Roots) []string {
	return []string{
		filepath.Join(roots.State, "environments"), filepath.Join(roots.State, "environment-locks"), filepath.Join(roots.Data, "environments"),
	}
}

// mounts returns those in whose lines the name is, at whatever place.
func (t Trace) mounts() []string {
	var found []string
	for _, m := range leftovers.Mounts() {
		if t.Name != "" && leftovers.HasName(m.Line, t.Name) || t.Name == "" && strings.Contains(m.Line, t.Prefix) {
			found = append(found, "mount "+m.Line)
		}
	}
	return found
}

// onHost looks for the host's half of egress.
func (t Trace) onHost() []string {
	var found []string
	key := t.Roots.Of(t.Name).Dir
	if _, err := net.InterfaceByName(egress.InterfaceName(key)); err == nil {
		found = append(found, "interface "+egress.InterfaceName(key))
	}
	var rules nftables.Conn
	tables, err := rules.ListTables()
	if err != nil {
		return append(found, "unknown tables: "+err.Error())
	}
	for _, table := range tables {
		if table.Name == egress.TableName(key) {
			found = append(found, "table "+table.Name)
		}
	}
	return found
}

// leases looks for what bundles hold in the store. A lease's file has its
// owner's name in it.
func (t Trace) leases() []string {
	var found []string
	for _, dir := range []string{"leases", "bundles/unfinished"} {
		dir := filepath.Join(t.Roots.Data, dir)
		for _, name := range leftovers.Names(dir) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && strings.Contains(string(text), "/"+t.Name+t.Prefix) {
				found = append(found, fmt.Sprintf("%s: %s", filepath.Join(dir, name), text))
			}
		}
	}
	return found
}
