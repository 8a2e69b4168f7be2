package environment

import (
	"path/filepath"
)

// Roots are where environments are kept, both absolute.
type Roots struct {
	// State is the state root, /run/sandboxrun: what means nothing after a boot.
	State string `json:"state"`
	// Data is the data root, /var/lib/sandboxrun, which has the store of images too.
	Data string `json:"data"`
}

// Paths are the paths of one environment. All are absolute; none of them needs to exist.
type Paths struct {
	// Dir is the environment's directory below the state root, 0700.
	Dir string
	// Record is environment.json.
	Record string
	// Control is the control socket, see package control.
	Control string
	// Containers is the state root of the supervisor's runtime.Runtime. The process
	// ids in it are those of the environment's PID namespace: it is never loaded from
	// outside.
	Containers string
	// Messages is what the supervisor itself said, on its standard error.
	Messages string
	// Lock is held while the environment lives. It is not in Dir, which goes before it.
	Lock string
	// Data is the environment's directory below the data root, 0700.
	Data string
	// Bundles has a bundle for each instance, Volumes a directory for each named volume,
	// Logs the files of package logs, Reports INSTANCE.json.
	Bundles string
	Volumes string
	Logs    string
	Reports string
}

// Of returns the paths of the environment called name, which CheckName has seen.
func (r Roots) Of(name string) Paths {
	dir := filepath.Join(r.environments(), name)
	data := filepath.Join(r.dataEnvironments(), name)
	return Paths{
		Dir:        dir,
		Record:     filepath.Join(dir, "environment.json"),
		Control:    filepath.Join(dir, "control.sock"),
		Containers: filepath.Join(dir, "containers"),
		Messages:   filepath.Join(dir, "supervisor.log"),
		Lock:       filepath.Join(r.locks(), name),
		Data:       data,
		Bundles:    filepath.Join(data, "bundles"),
		Volumes:    filepath.Join(data, "volumes"),
		Logs:       filepath.Join(data, "logs"),
		Reports:    filepath.Join(data, "reports"),
	}
}

func (r Roots) environments() string     { return filepath.Join(r.State, "environments") }
func (r Roots) locks() string            { return filepath.Join(r.State, "environment-locks") }
func (r Roots) dataEnvironments() string { return filepath.Join(r.Data, "environments") }
