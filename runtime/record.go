package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
)

// Ownership on disk. For a container ID there are
//
//	locks/ID                      flock, held while somebody makes, runs or removes it
//	containers/ID/                libcontainer's directory: state.json, exec.fifo
//	containers/ID/sandboxrun.json the record: who owns it, which cgroups it has
//
// The record is written before the first cgroup or process is made, and goes
// with the directory. What a free lock means is told by the record:
//
//	no record, or a record of a supervisor    its owner is dead: remove
//	a record without owner ("detached")       it lives on its own: keep
//
// The lock file and the directory have different parents because "a.lock" is
// a legal ID.
const recordName = "sandboxrun.json"

const recordVersion = 1

// record holds facts and intents only, never a status that can be derived.
type record struct {
	Version int `json:"version"`
	// Detached: the container lives without an owner until it is deleted.
	Detached bool   `json:"detached"`
	Bundle   string `json:"bundle"`
	// Config is the file of the spec if it is not the bundle's config.json.
	Config string `json:"config,omitempty"`
	// Cgroups are the directories that the container will have, by controller
	// on v1 and under the empty key on v2, so that they can be removed when
	// libcontainer's own state was never written.
	Cgroups map[string]string `json:"cgroups"`
	// Init: the first process is nsinit's PID 1.
	Init  bool  `json:"init,omitempty"`
	Hooks hooks `json:"hooks,omitzero"`
	// HostRoot is nil for a container with a mount namespace of its own.
	HostRoot *hostRoot `json:"hostRoot,omitempty"`
}

func (r *Runtime) writeRecord(id string, rec record) error {
	rec.Version = recordVersion
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode owner record: %w", err)
	}
	return atomicfile.WriteVolatile(filepath.Join(r.stateDir(id), recordName), data, 0o600)
}

// readRecord returns nil without an error if there is none: its writer died
// before it had made anything but the directory.
func (r *Runtime) readRecord(id string) (*record, error) {
	path := filepath.Join(r.stateDir(id), recordName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("read owner record %q: %w", path, err)
	}
	if rec.Version > recordVersion {
		return nil, fmt.Errorf("cannot read %q: %w; use that version", path, ErrNewerState)
	}
	return &rec, nil
}
