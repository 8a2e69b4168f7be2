package integration_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// marker is an environment variable by which processes of a script are found.
const marker = "SANDBOXRUN_TEST_ID"

// leftovers describes everything of the script that exists on the machine.
func (s *sandbox) leftovers() []string {
	var found []string
	for _, p := range s.processes() {
		found = append(found, p.String())
	}
	for _, dir := range cgroupsNamed(s.id) {
		found = append(found, "cgroup "+dir)
	}
	for _, mount := range mountsBelow(s.work) {
		found = append(found, "mount "+mount.Line)
	}
	for _, path := range s.stateFiles() {
		found = append(found, "state "+path)
	}
	for _, dir := range []string{s.tmp, "/tmp", "/run", "/dev/shm", "/var/tmp"} {
		for _, name := range leftovers.Names(dir) {
			if dir == s.tmp || leftovers.HasName(name, s.id) {
				found = append(found, "temporary file "+filepath.Join(dir, name))
			}
		}
	}
	return found
}

// stateDirs are the directories of the state root that stay, empty.
var stateDirs = []string{"containers", "locks", "environments", "environment-locks"}

// stateFiles lists what is in the state root besides its empty directories, and the
// environments' part of the data root.
func (s *sandbox) stateFiles() []string {
	var found []string
	for _, name := range leftovers.Names(s.root) {
		if !slices.Contains(stateDirs, name) {
			found = append(found, filepath.Join(s.root, name))
			continue
		}
		for _, entry := range leftovers.Names(filepath.Join(s.root, name)) {
			found = append(found, filepath.Join(s.root, name, entry))
		}
	}
	environments := filepath.Join(s.work, ".data", "environments")
	for _, name := range leftovers.Names(environments) {
		found = append(found, filepath.Join(environments, name))
	}
	return found
}

// processes finds the script's living processes: supervisors by environment and
// directory, the first steps of a container by directory, a running one by
// cgroup and mounts. A zombie is dead.
func (s *sandbox) processes() []leftovers.Process { return findProcesses(s.id, s.work) }

func findProcesses(id, dir string) []leftovers.Process {
	return leftovers.Processes(func(p leftovers.Process) (by string) {
		switch {
		case p.WorksIn(dir):
			return "working directory"
		case p.HasVariable(marker, func(value string) bool { return value == id }):
			return "environment"
		case leftovers.HasName(p.Groups(), id):
			return "cgroup"
		case p.HasMountsBelow(dir):
			return "mounts"
		}
		return ""
	})
}

// cgroupsNamed returns the cgroup directories of all hierarchies whose name has
// id, parents first.
func cgroupsNamed(id string) []string {
	return leftovers.Cgroups(func(dir string) bool { return leftovers.HasName(dir, id) })
}

// mountsBelow returns the mounts whose lines name something below dir.
func mountsBelow(dir string) []leftovers.Mount {
	return slices.DeleteFunc(leftovers.Mounts(), func(m leftovers.Mount) bool { return !strings.Contains(m.Line, dir+"/") })
}

// sweep removes what leftovers found, so that one failure does not make others.
func (s *sandbox) sweep() {
	groups := func() []string { return cgroupsNamed(s.id) }
	if err := leftovers.KillAll(s.processes, groups); err != nil {
		s.tb.Errorf("sweep: %v", err)
	}
	leftovers.Unmount(mountsBelow(s.work))
	leftovers.RemoveCgroups(groups())
}

// snapshot is what a machine has. On a machine that others work on, only what
// bears this process's name counts.
type snapshot map[string]bool

func takeSnapshot() snapshot {
	all := snapshot{}
	for _, dir := range leftovers.Cgroups(func(string) bool { return true }) {
		all["cgroup "+dir] = true
	}
	for _, m := range leftovers.Mounts() {
		_, mount, _ := strings.Cut(m.Line, " ")
		all["mount "+mount] = true
	}
	for _, dir := range []string{"/tmp", "/run", "/dev/shm", "/var/tmp", "/run/netns"} {
		for _, name := range leftovers.Names(dir) {
			all["file "+filepath.Join(dir, name)] = true
		}
	}
	for _, name := range leftovers.Names("/sys/class/net") {
		all["interface "+name] = true
	}
	leftovers.Processes(func(p leftovers.Process) (by string) {
		if netns := p.NetworkNamespace(); netns != "" {
			all["network namespace "+netns] = true
		}
		if args := p.Args(); len(args) > 0 {
			all[fmt.Sprint("process ", p.PID, " ", strings.Join(args, "\x00"))] = true
		}
		return ""
	})
	return all
}

// newSince returns what later has and s has not.
func (s snapshot) newSince(later snapshot) []string {
	var found []string
	for what := range later {
		// CRIU keeps what it has found out about the kernel until the next boot.
		if s[what] || strings.Contains(what, shared.dir) || what == "file /run/criu.kdat" {
			continue
		}
		if inVM() || strings.Contains(what, shared.nonce) {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}
