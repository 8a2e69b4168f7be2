package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"golang.org/x/sys/unix"
)

// Layer is a layer unpacked in the store.
type Layer struct {
	// DiffID is the digest of the uncompressed tar stream.
	DiffID manifest.Digest
	// Variant tells apart trees of one layer that differ in owners or form.
	Variant string
	// Dir is the absolute path of the tree. It is shared: never write to it.
	Dir string
	// Form is unpack's name of the form of its whiteouts: "overlay" or
	// "overlay-user".
	Form string
	// Blob is the stream it was made from; the store need not have it.
	Blob manifest.Digest
	// Bytes is the size of the uncompressed stream; Entries those of the archive.
	Bytes, Entries int64
	// HidesBelow says that no layer below it shows.
	HidesBelow bool
}

// layerRecord is layers/<key>/layer.json.
type layerRecord struct {
	Version    int             `json:"version"`
	DiffID     manifest.Digest `json:"diffID"`
	Variant    string          `json:"variant,omitempty"`
	Form       string          `json:"form"`
	Blob       manifest.Digest `json:"blob,omitempty"`
	Bytes      int64           `json:"bytes"`
	Entries    int64           `json:"entries"`
	HidesBelow bool            `json:"hidesBelow,omitempty"`
	// Boot is that of the making; with another one the tree is trusted only if
	// Settled.
	Boot    string `json:"boot"`
	Settled bool   `json:"settled"`
}

func (r *layerRecord) trusted() bool {
	return r.Settled || (r.Boot != "" && r.Boot == bootID())
}

// layerKey is the name of a layer's directory.
func layerKey(diffID manifest.Digest, variant string) string {
	if variant == "" {
		return diffID.Hex()
	}
	return diffID.Hex() + "-" + variant
}

// maxVariant bounds a variant's name.
const maxVariant = 40

func checkLayerName(diffID manifest.Digest, variant string) error {
	if _, err := manifest.ParseDigest(string(diffID)); err != nil {
		return err
	}
	valid := len(variant) <= maxVariant
	for _, c := range variant {
		valid = valid && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !valid {
		return fmt.Errorf("cannot use variant %q: it is not up to %d letters a-z, digits and hyphens", variant, maxVariant)
	}
	return nil
}

// Layer returns an unpacked layer. variant tells apart trees of one layer that
// differ in their owners or form; "" is root's. The error wraps ErrNotFound, also
// where the layer cannot be trusted after a power cut, or ErrCorrupt.
func (s *Store) Layer(diffID manifest.Digest, variant string) (Layer, error) {
	if err := checkLayerName(diffID, variant); err != nil {
		return Layer{}, err
	}
	r, err := s.readLayer(layerKey(diffID, variant))
	if errors.Is(err, fs.ErrNotExist) {
		return Layer{}, fmt.Errorf("layer %s is %w", diffID, ErrNotFound)
	}
	if err != nil {
		return Layer{}, err
	}
	if !r.trusted() {
		return Layer{}, fmt.Errorf("layer %s is %w: the machine was restarted before it was on disk", diffID, ErrNotFound)
	}
	return s.layer(r), nil
}

func (s *Store) layer(r layerRecord) Layer {
	return Layer{
		DiffID: r.DiffID, Variant: r.Variant, Dir: s.path(layersDir, layerKey(r.DiffID, r.Variant), "fs"),
		Form: r.Form, Blob: r.Blob, Bytes: r.Bytes, Entries: r.Entries, HidesBelow: r.HidesBelow,
	}
}

func (s *Store) readLayer(key string) (layerRecord, error) {
	var r layerRecord
	if err := readRecord(s.path(layersDir, key, "layer.json"), &r, func() int { return r.Version }); err != nil {
		return layerRecord{}, err
	}
	if layerKey(r.DiffID, r.Variant) != key {
		return layerRecord{}, fmt.Errorf("%w: the record of layer %s is that of %s", ErrCorrupt, key, r.DiffID)
	}
	return r, nil
}

// MakeLayer returns a layer that is there or has fill make it in the empty
// directory dir (0755), while no other process makes the same. fill returns the
// layer's facts; DiffID, Variant and Dir are set by the store. If fill fails
// nothing is left.
func (s *Store) MakeLayer(ctx context.Context, diffID manifest.Digest, variant string, fill func(dir string) (Layer, error)) (retLayer Layer, retErr error) {
	if err := checkLayerName(diffID, variant); err != nil {
		return Layer{}, err
	}
	if layer, err := s.Layer(diffID, variant); err == nil || errors.Is(err, ErrNewer) {
		return layer, err
	}
	key := layerKey(diffID, variant)
	lock, err := lockfile.Acquire(ctx, s.path(locksDir, "layer-"+key))
	if err != nil {
		return Layer{}, fmt.Errorf("wait for the unpacking of layer %s: %w", diffID, err)
	}
	defer func() { retErr = errors.Join(retErr, lock.Remove()) }()
	if layer, err := s.Layer(diffID, variant); err == nil {
		return layer, nil
	}
	temp, err := s.tempDir("layer-")
	if err != nil {
		return Layer{}, err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, removeTree(temp))
		}
	}()
	made, err := fillLayer(temp, fill)
	if err != nil {
		return Layer{}, err
	}
	record := layerRecord{
		Version: version, DiffID: diffID, Variant: variant, Form: made.Form, Blob: made.Blob, Bytes: made.Bytes,
		Entries: made.Entries, HidesBelow: made.HidesBelow, Boot: bootID(),
	}
	if err := writeRecord(temp+"/layer.json", record, false); err != nil {
		return Layer{}, fmt.Errorf("record layer %s: %w", diffID, err)
	}
	if err := s.replaceLayer(temp, key); err != nil {
		return Layer{}, fmt.Errorf("keep layer %s: %w", diffID, err)
	}
	return s.layer(record), nil
}

func fillLayer(temp string, fill func(dir string) (Layer, error)) (Layer, error) {
	dir := temp + "/fs"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Layer{}, err
	}
	// Whatever the umask: what the layer does not say of its root is this.
	if err := os.Chmod(dir, 0o755); err != nil {
		return Layer{}, err
	}
	return fill(dir)
}

// replaceLayer gives the complete layer in temp its name. What has the name
// already cannot be trusted.
func (s *Store) replaceLayer(temp, key string) error {
	final := s.path(layersDir, key)
	err := os.Rename(temp, final)
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	if err := s.discard(final); err != nil {
		return err
	}
	return os.Rename(temp, final)
}

// discard moves path out of the way, then removes it. A process that is killed in
// between leaves it in tmp/.
func (s *Store) discard(path string) error {
	aside, err := s.tempDir("gone-")
	if err != nil {
		return err
	}
	if err := os.Rename(path, aside+"/gone"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.Remove(aside))
	}
	return removeTree(aside)
}

func (s *Store) tempDir(prefix string) (string, error) {
	return os.MkdirTemp(s.path(tmpDir), prefix)
}

// eachLayer calls visit with the key of every directory of layers, and its record
// or why it cannot be read.
func (s *Store) eachLayer(visit func(key string, r layerRecord, err error) error) error {
	entries, err := os.ReadDir(s.path(layersDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		r, err := s.readLayer(entry.Name())
		if err := visit(entry.Name(), r, err); err != nil {
			return err
		}
	}
	return nil
}

// Settle flushes what was added to disk (one syncfs(2)), so that it is trusted
// after the next start of the machine, in good order or not.
func (s *Store) Settle() error {
	boot := bootID()
	var unsettled []string
	err := s.eachLayer(func(key string, r layerRecord, err error) error {
		if err == nil && !r.Settled && r.Boot == boot && boot != "" {
			unsettled = append(unsettled, key)
		}
		return nil
	})
	if err != nil || len(unsettled) == 0 {
		return err
	}
	root, err := os.Open(s.root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	for _, key := range unsettled {
		r, err := s.readLayer(key)
		if err != nil {
			continue // pruned meanwhile
		}
		r.Settled = true
		err = writeRecord(s.path(layersDir, key, "layer.json"), r, false)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("settle layer %s: %w", strings.SplitN(key, "-", 2)[0], err)
		}
	}
	return nil
}
