package chaos_test

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sandboxrun/sandboxrun/test/environments"
	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// marker is a variable that commands and what they run have.
const marker = "SANDBOXRUN_CHAOS"

// process is a process of an environment that lived when it was looked at.
type process = environments.Process

// trace is that of all environments of the field.
func (f *field) trace() environments.Trace {
	return environments.Trace{Roots: f.roots, Prefix: f.prefix + "-", Variable: marker, Dirs: []string{filepath.Join(f.dir, "tmp")}}
}

func (e *environ) trace() environments.Trace {
	t := e.field.trace()
	t.Name, t.Prefix = e.name, ""
	return t
}

func (e *environ) processes() []process { return e.trace().Processes() }

// supervisor finds its supervisor, if it lives.
func (e *environ) supervisor() (process, bool) {
	for _, p := range e.processes() {
		if slices.Contains(p.Args, "env-supervisor") {
			return p, true
		}
	}
	return process{}, false
}

// running is an error as long as anything of the environment runs.
func (e *environ) running() error {
	if found := e.processes(); len(found) > 0 {
		return fmt.Errorf("still running: %v", found)
	}
	return nil
}

// leftovers describes everything of the environment that there is.
func (e *environ) leftovers() []string { return e.trace().Left() }

// sweep removes what a failed test left, so that it is not the machine's.
func (f *field) sweep() {
	all := f.trace()
	processes := func() []leftovers.Process {
		var found []leftovers.Process
		for _, p := range all.Processes() {
			found = append(found, p.Process)
		}
		return found
	}
	if err := leftovers.KillAll(processes, all.Cgroups); err != nil {
		f.tb.Error(err)
	}
	// The records tell what else there is.
	if _, err := f.named(f.prefix).run("gc"); err != nil {
		f.tb.Log(err)
	}
	leftovers.RemoveCgroups(all.Cgroups())
}
