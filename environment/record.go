package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
)

const (
	recordVersion = 1
	// maxRecord bounds what is read of a record; a plan of some hundred services is below it.
	maxRecord = 64 << 20
)

// Record is environment.json: facts and intents, never a status. It is written
// before anything else of the environment is made and does not change.
type Record struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Roots   Roots  `json:"roots"`
	// CreatedAt is when the launch began.
	CreatedAt time.Time `json:"created_at"`
	// Dir and Files say what it was made from: the project's directory, the compose files.
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
	// Cgroup is the environment's group as a path below each hierarchy's mount, Cgroups
	// its directories by controller, as cgroup.Open takes them. Groups of the supervisor
	// and the instances are below.
	Cgroup  string            `json:"cgroup"`
	Cgroups map[string]string `json:"cgroups"`
	// Egress is the key of the host's half of egress, see network/egress; empty without.
	Egress string `json:"egress,omitempty"`
	// Ports are the published ports as they were opened.
	Ports []OpenPort `json:"ports,omitempty"`
	// DieWithParent says that it ends with the process that launched it.
	DieWithParent bool `json:"die_with_parent,omitempty"`
	// Plan is the plan's JSON form, for inspect. There is no secret's content in it.
	Plan json.RawMessage `json:"plan,omitempty"`
}

// OpenPort is a published port with its listening socket on the host's side.
type OpenPort struct {
	Service  string     `json:"service"`
	HostIP   netip.Addr `json:"host_ip"`
	HostPort uint16     `json:"host_port"`
	Target   uint16     `json:"target"`
	Protocol string     `json:"protocol"` // tcp or udp
	// Inode is the socket's, as /proc/net/tcp has it.
	Inode uint64 `json:"inode"`
	// Descriptor is its number in the supervisor; of no meaning in a Record.
	Descriptor int `json:"descriptor,omitempty"`
}

// Paths returns the environment's paths.
func (r *Record) Paths() Paths { return r.Roots.Of(r.Name) }

// Load reads the record of an environment, alive or dead. The error wraps
// ErrInvalidName, ErrNotFound, ErrNewer or ErrOtherDataRoot.
func (r Roots) Load(name string) (*Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	path := r.Of(name).Record
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("environment %q: %w; sandboxrun env ls --all lists them", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read environment %q: %w", name, err)
	}
	record, err := parseRecord(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use environment %q: %s: %w", name, path, err)
	}
	if record.Name != name || record.Roots.State != r.State {
		return nil, fmt.Errorf("cannot use environment %q: %s: %w; it is of %q below %q; remove the file by hand",
			name, path, errDamaged, record.Name, record.Roots.State)
	}
	if record.Roots.Data != r.Data {
		return nil, fmt.Errorf("cannot use environment %q: %w; use that one, by --data-root %s", name, ErrOtherDataRoot, record.Roots.Data)
	}
	return record, nil
}

// errDamaged is a record that this program cannot have written.
var errDamaged = errors.New("it is damaged")

// parseRecord decodes a record of this version.
func parseRecord(data []byte) (*Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if head.Version > recordVersion {
		return nil, fmt.Errorf("%w (version %d, this one knows %d); use that one", ErrNewer, head.Version, recordVersion)
	}
	var record Record
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if record.Version < 1 {
		return nil, fmt.Errorf("%w: version %d", errDamaged, record.Version)
	}
	if err := CheckName(record.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return &record, nil
}

// Write makes the environment's directory and puts the record into it, in one step
// for whoever looks. The caller holds the Claim of the name.
func (r *Record) Write() error {
	r.Version = recordVersion
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	paths := r.Paths()
	if err := os.MkdirAll(paths.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory of environment: %w", err)
	}
	// The state root means nothing after a boot: no fsync.
	if err := atomicfile.WriteVolatile(paths.Record, data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, maxRecord)
	}
	return os.ReadFile(path)
}
