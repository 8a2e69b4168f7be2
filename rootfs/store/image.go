package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// Image is an image in the store, whole: documents and unpacked layers.
type Image struct {
	// Reference is what it was asked for by, such as "docker.io/library/redis:7".
	Reference string
	// Digest is that of the manifest.
	Digest manifest.Digest
	// ConfigDigest is docker's image ID.
	ConfigDigest manifest.Digest
	Manifest     manifest.Manifest
	Config       manifest.Config
	// Layers from the lowest to the highest, each once, without those that a higher
	// one hides altogether.
	Layers []Layer
	// Pulled is when the reference was made or last renewed; zero for one named by
	// its digest.
	Pulled time.Time
}

// reference is images/<hex>.json.
type reference struct {
	Version   int             `json:"version"`
	Reference string          `json:"reference"`
	Digest    manifest.Digest `json:"digest"`
	Pulled    time.Time       `json:"pulled"`
}

// maxReference bounds a reference, in bytes.
const maxReference = 4096

func (s *Store) referencePath(name string) string {
	return s.path(imagesDir, manifest.DigestOf([]byte(name)).Hex()+".json")
}

// Resolve returns the manifest that a reference, or a "sha256:<hex>" of a manifest, names. The
// error wraps ErrNotFound.
func (s *Store) Resolve(name string) (manifest.Digest, time.Time, error) {
	if d, err := manifest.ParseDigest(name); err == nil {
		return d, time.Time{}, nil
	}
	var r reference
	err := readRecord(s.referencePath(name), &r, func() int { return r.Version })
	if errors.Is(err, fs.ErrNotExist) {
		return "", time.Time{}, fmt.Errorf("image %q is %w", name, ErrNotFound)
	}
	if err != nil {
		return "", time.Time{}, err
	}
	if r.Reference != name || r.Digest == "" {
		return "", time.Time{}, fmt.Errorf("%w: the record of image %q is that of %q", ErrCorrupt, name, r.Reference)
	}
	return r.Digest, r.Pulled, nil
}

// Documents returns an image's manifest and configuration without its layers.
func (s *Store) Documents(d manifest.Digest) (manifest.Manifest, manifest.Config, error) {
	data, err := s.ReadBlob(d)
	if err != nil {
		return manifest.Manifest{}, manifest.Config{}, err
	}
	m, err := manifest.ParseManifest(data)
	if err != nil {
		return manifest.Manifest{}, manifest.Config{}, fmt.Errorf("image %s: %w", d, err)
	}
	data, err = s.ReadBlob(m.Config.Digest)
	if err != nil {
		return manifest.Manifest{}, manifest.Config{}, err
	}
	c, err := manifest.ParseConfig(data)
	if err != nil {
		return manifest.Manifest{}, manifest.Config{}, fmt.Errorf("image %s: %w", d, err)
	}
	return m, c, manifest.Agree(m, c)
}

// Image returns the image that reference, or a "sha256:<hex>" of a manifest,
// names, with its layers of the variant. The error wraps ErrNotFound: of the
// image, or of a part of it.
func (s *Store) Image(name, variant string) (Image, error) {
	d, pulled, err := s.Resolve(name)
	if err != nil {
		return Image{}, err
	}
	m, c, err := s.Documents(d)
	if err != nil {
		return Image{}, err
	}
	image := Image{Reference: name, Digest: d, ConfigDigest: m.Config.Digest, Manifest: m, Config: c, Pulled: pulled}
	for _, diffID := range c.RootFS.DiffIDs {
		layer, err := s.Layer(diffID, variant)
		if err != nil {
			return Image{}, fmt.Errorf("image %q: %w", name, err)
		}
		if layer.HidesBelow {
			image.Layers = nil
		}
		// overlayfs refuses a layer that comes twice. The higher one has all that the
		// lower has, so that the lower one never shows.
		image.Layers = slices.DeleteFunc(image.Layers, func(l Layer) bool { return l.DiffID == diffID })
		image.Layers = append(image.Layers, layer)
	}
	return image, nil
}

// Entry is a line of the list of images.
type Entry struct {
	Reference string          `json:"reference"`
	Digest    manifest.Digest `json:"digest"`
	Pulled    time.Time       `json:"pulled"`
	// Size is that of documents and packed layers, in bytes, as the manifest says.
	Size int64 `json:"size"`
	// Platform as "linux/amd64".
	Platform string `json:"platform"`
}

// Images lists references, sorted. One that cannot be read is left out: Fsck
// tells of it.
func (s *Store) Images() ([]Entry, error) {
	var entries []Entry
	err := s.eachReference(func(_ string, r reference, err error) error {
		if err != nil {
			return nil //nolint:nilerr // told by Fsck
		}
		m, c, err := s.Documents(r.Digest)
		if err != nil {
			return nil //nolint:nilerr // told by Fsck
		}
		e := Entry{Reference: r.Reference, Digest: r.Digest, Pulled: r.Pulled, Platform: c.Platform().String(), Size: m.Config.Size}
		for _, layer := range m.Layers {
			e.Size += layer.Size
		}
		entries = append(entries, e)
		return nil
	})
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Reference, b.Reference) })
	return entries, err
}

// eachReference calls visit with the file name of every reference, and its record
// or why it cannot be read.
func (s *Store) eachReference(visit func(name string, r reference, err error) error) error {
	entries, err := os.ReadDir(s.path(imagesDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".tmp") {
			continue // being written, or left by a killed writer
		}
		var r reference
		err := readRecord(s.path(imagesDir, entry.Name()), &r, func() int { return r.Version })
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && (s.referencePath(r.Reference) != s.path(imagesDir, entry.Name()) || r.Digest == "") {
			err = fmt.Errorf("%w: it is the record of %q", ErrCorrupt, r.Reference)
		}
		if err := visit(entry.Name(), r, err); err != nil {
			return err
		}
	}
	return nil
}

// Tag makes the reference name the manifest d, in place of what it named.
func (s *Store) Tag(name string, d manifest.Digest) error {
	if name == "" || len(name) > maxReference || strings.HasPrefix(name, "sha256:") {
		return fmt.Errorf("cannot name an image %.100q: a name has 1 to %d bytes and is no digest", name, maxReference)
	}
	r := reference{Version: version, Reference: name, Digest: d, Pulled: time.Now().UTC().Truncate(time.Second)}
	if err := writeRecord(s.referencePath(name), r, true); err != nil {
		return fmt.Errorf("name image %q: %w", name, err)
	}
	return nil
}

// Untag removes a reference; what it alone used goes with the next Prune. The
// error wraps ErrNotFound.
func (s *Store) Untag(name string) error {
	err := os.Remove(s.referencePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %q is %w", name, ErrNotFound)
	}
	return err
}
