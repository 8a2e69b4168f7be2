package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// lease is leases/<hex>.json.
type lease struct {
	Version int             `json:"version"`
	Name    string          `json:"name"`
	Holder  string          `json:"holder,omitempty"`
	Image   manifest.Digest `json:"image,omitempty"`
	// Layers are the names of directories in layers/.
	Layers []string `json:"layers"`
}

func (s *Store) leasePath(name string) string {
	return s.path(leasesDir, manifest.DigestOf([]byte(name)).Hex()+".json")
}

// Lease keeps the manifest image (may be "") and the layers from being pruned
// until Release(name), or until the path holder, such as a bundle's directory,
// does not exist any more; holder may be "". A lease of the same name is replaced.
func (s *Store) Lease(name, holder string, image manifest.Digest, layers []Layer) error {
	if holder != "" && !filepath.IsAbs(holder) {
		return fmt.Errorf("cannot lease layers: holder %q is no absolute path", holder)
	}
	l := lease{Version: version, Name: name, Holder: holder, Image: image, Layers: []string{}}
	for _, layer := range layers {
		l.Layers = append(l.Layers, layerKey(layer.DiffID, layer.Variant))
	}
	if err := writeRecord(s.leasePath(name), l, false); err != nil {
		return fmt.Errorf("lease layers: %w", err)
	}
	return nil
}

// Release ends a lease; none of that name is no error. What a killed Lease of that
// name left goes, too: nobody may be making one at the same time.
func (s *Store) Release(name string) error {
	record := filepath.Base(s.leasePath(name))
	entries, err := os.ReadDir(s.path(leasesDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		half := strings.HasPrefix(entry.Name(), "."+record+".") && strings.HasSuffix(entry.Name(), ".tmp")
		if !half && entry.Name() != record {
			continue
		}
		if err := os.Remove(s.path(leasesDir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// HeldBelow returns the names of the leases whose holder is below dir, whether or not
// the holder is still there.
func (s *Store) HeldBelow(dir string) ([]string, error) {
	var names []string
	err := s.eachLease(func(_ string, l lease, err error) error {
		if err != nil {
			return nil //nolint:nilerr // one that cannot be read is Fsck's to tell
		}
		if strings.HasPrefix(l.Holder, filepath.Clean(dir)+"/") {
			names = append(names, l.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return names, nil
}

// held tells whether the lease still counts. A holder that cannot be looked at is
// one.
func (l *lease) held() bool {
	if l.Holder == "" {
		return true
	}
	_, err := os.Lstat(l.Holder)
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) eachLease(visit func(name string, l lease, err error) error) error {
	entries, err := os.ReadDir(s.path(leasesDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".tmp") {
			continue // being written, or left by a killed writer
		}
		var l lease
		err := readRecord(s.path(leasesDir, entry.Name()), &l, func() int { return l.Version })
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && s.leasePath(l.Name) != s.path(leasesDir, entry.Name()) {
			err = fmt.Errorf("%w: it is the lease %q", ErrCorrupt, l.Name)
		}
		if err := visit(entry.Name(), l, err); err != nil {
			return err
		}
	}
	return nil
}
