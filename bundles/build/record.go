package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

const (
	// RecordFile is the name of the record in a bundle.
	RecordFile    = "bundle.json"
	recordVersion = 1
	maxRecord     = 1 << 20
	// rootfsDir is the root filesystem in a bundle, as bundles.Default names it.
	rootfsDir = "rootfs"
)

// Record is what a bundle says of its making; all that Mount and Remove need.
type Record struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// Source as the user wrote it.
	Source string `json:"source"`
	// Reference, Digest and Platform are those of the image; empty for host:.
	Reference string          `json:"reference,omitempty"`
	Digest    manifest.Digest `json:"digest,omitempty"`
	Platform  string          `json:"platform,omitempty"`
	// Layers are the image's, lowest first; Variant tells their owners.
	Layers  []manifest.Digest `json:"layers,omitempty"`
	Variant string            `json:"variant,omitempty"`
	// Host says that the lowest layer is this host's root.
	Host bool `json:"host,omitempty"`
	// Files says that a layer of the bundle's own is above them.
	Files  bool           `json:"files,omitempty"`
	Method overlay.Method `json:"method"`
	// Service is the name of the service, if it has one.
	Service string         `json:"service,omitempty"`
	Secrets []SecretOrigin `json:"secrets,omitempty"`
	Volumes []string       `json:"volumes,omitempty"`
	// StateRoot has the secrets, DataRoot the store.
	StateRoot string `json:"stateRoot"`
	DataRoot  string `json:"dataRoot"`
}

// SecretOrigin says where a secret's content is to be had from, and how its file is.
type SecretOrigin struct {
	Name     string `json:"name"`
	File     string `json:"file,omitempty"`
	Variable string `json:"variable,omitempty"`
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	// Mode is decimal, as fs.FileMode has it.
	Mode fs.FileMode `json:"mode"`
}

// Load reads the record of the bundle in dir. The error wraps ErrNotBuilt,
// ErrNewer, or an errno.
func Load(dir string) (Record, error) {
	data, err := readSmall(filepath.Join(dir, RecordFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Lstat(dir); statErr != nil {
			return Record{}, fmt.Errorf("cannot find bundle %q: %w", dir, fs.ErrNotExist)
		}
		return Record{}, fmt.Errorf("cannot read bundle %q: %w; there is no %s in it", dir, ErrNotBuilt, RecordFile)
	case err != nil:
		return Record{}, fmt.Errorf("read bundle %q: %w", dir, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("cannot read bundle %q: %s is damaged: %w; remove the directory by hand", dir, RecordFile, err)
	}
	if r.Version > recordVersion {
		return Record{}, fmt.Errorf("cannot use bundle %q: %w (version %d, not %d); use that one", dir, ErrNewer, r.Version, recordVersion)
	}
	if !isID(r.ID) || r.Version < 1 {
		return Record{}, fmt.Errorf("cannot read bundle %q: %s is damaged: id %.60q, version %d", dir, RecordFile, r.ID, r.Version)
	}
	return r, nil
}

// LoadOwn is Load for a bundle that is to be changed: it refuses a record that is
// another user's, who could name any data root in it.
func LoadOwn(dir string) (Record, error) {
	r, err := Load(dir)
	if err != nil {
		return Record{}, err
	}
	var stat unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, RecordFile), &stat); err != nil {
		return Record{}, &os.PathError{Op: "lstat", Path: filepath.Join(dir, RecordFile), Err: err}
	}
	if int(stat.Uid) != os.Geteuid() {
		return Record{}, fmt.Errorf("cannot change bundle %q: %w by the calling user but by user %d; run as that one", dir, ErrNotBuilt, stat.Uid)
	}
	if !filepath.IsAbs(r.DataRoot) || !filepath.IsAbs(r.StateRoot) {
		return Record{}, fmt.Errorf("cannot change bundle %q: %s is damaged: it names no data root", dir, RecordFile)
	}
	return r, nil
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

// isID tells whether s is an ID of ours, and so safe in a path.
func isID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == idLength
}

// places are the paths of one bundle that are not in its directory.
type places struct {
	own        string // <data root>/bundles/<id>
	unfinished string // directory of intents
	intent     string
	lock       string
	secrets    string // <state root>/secrets/<id>
}

func placesOf(dataRoot, stateRoot, id string) places {
	base := filepath.Join(dataRoot, "bundles")
	unfinished := filepath.Join(base, "unfinished")
	return places{
		own:        filepath.Join(base, id),
		unfinished: unfinished,
		intent:     filepath.Join(unfinished, id+".json"),
		lock:       filepath.Join(unfinished, id+".lock"),
		secrets:    filepath.Join(stateRoot, "secrets", id),
	}
}

func (p places) upper() string { return filepath.Join(p.own, "upper") }
func (p places) work() string  { return filepath.Join(p.own, "work") }
func (p places) files() string { return filepath.Join(p.own, "files") }
func (p places) empty() string { return filepath.Join(p.own, "empty") }

// intent is written before anything of a bundle is made or removed.
type intent struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// Dir is the bundle's directory, Staging where it is made.
	Dir       string `json:"dir"`
	Staging   string `json:"staging,omitempty"`
	StateRoot string `json:"stateRoot"`
	// Removing says that the bundle is to go, even if it is complete.
	Removing bool `json:"removing,omitempty"`
}

func (i intent) write(p places) error {
	if err := os.MkdirAll(p.unfinished, 0o700); err != nil {
		return fmt.Errorf("make directory of bundles: %w", err)
	}
	data, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode intent: %w", err)
	}
	if err := atomicfile.WriteVolatile(p.intent, data, 0o600); err != nil {
		return fmt.Errorf("note what is to be made: %w", err)
	}
	return nil
}

// pin is the lease of a bundle in the store.
func pin(s *store.Store, r Record, dir string, image manifest.Digest, layers []store.Layer) error {
	if r.Host {
		return nil
	}
	if err := s.Lease(r.ID, dir, image, layers); err != nil {
		return fmt.Errorf("keep the layers of bundle %q: %w", dir, err)
	}
	return nil
}
