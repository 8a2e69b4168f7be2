package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"golang.org/x/sys/unix"
)

// Count is a number of things and their size on disk.
type Count struct {
	Number int   `json:"number"`
	Bytes  int64 `json:"bytes"`
}

func (c *Count) add(bytes int64) {
	c.Number++
	c.Bytes += bytes
}

// Usage is what the store takes on disk, in bytes as allocated.
type Usage struct {
	Blobs     Count `json:"blobs"`
	Layers    Count `json:"layers"`
	Partial   Count `json:"partial"`
	Temporary Count `json:"temporary"`
	// Reclaimable is what Prune would remove.
	Reclaimable Count `json:"reclaimable"`
	Images      int   `json:"images"`
	Leases      int   `json:"leases"`
}

// Usage measures the store. It takes no lock: what changes meanwhile is counted or
// not.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	p, err := s.prune(ctx, PruneOptions{DryRun: true})
	if err != nil {
		return Usage{}, err
	}
	for _, c := range []Count{p.Blobs, p.Layers, p.Partial, p.Temporary} {
		u.Reclaimable.Number += c.Number
		u.Reclaimable.Bytes += c.Bytes
	}
	for _, part := range []struct {
		dir   string
		count *Count
	}{{blobsDir, &u.Blobs}, {layersDir, &u.Layers}, {partialDir, &u.Partial}, {tmpDir, &u.Temporary}} {
		entries, err := os.ReadDir(s.path(part.dir))
		if err != nil {
			return Usage{}, err
		}
		for _, entry := range entries {
			part.count.add(diskUsage(s.path(part.dir, entry.Name())))
		}
	}
	err = errors.Join(
		s.eachReference(func(string, reference, error) error { u.Images++; return nil }),
		s.eachLease(func(string, lease, error) error { u.Leases++; return nil }),
	)
	return u, err
}

// diskUsage returns the bytes allocated at and below path, hard links once.
func diskUsage(path string) int64 {
	var total int64
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return nil //nolint:nilerr // what vanishes takes no room
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total
}

// PruneOptions say how much is removed.
type PruneOptions struct {
	// Images removes references that no lease uses, too.
	Images bool
	// PackedLayers removes the blobs of layers that are unpacked and settled.
	PackedLayers bool
	// DryRun removes nothing and says what would be.
	DryRun bool
}

// Pruned is what was removed.
type Pruned struct {
	References []string `json:"references"`
	Blobs      Count    `json:"blobs"`
	Layers     Count    `json:"layers"`
	Partial    Count    `json:"partial"`
	Leases     Count    `json:"leases"`
	Temporary  Count    `json:"temporary"`
}

// Prune removes what no reference and no lease uses. It waits for writers until
// ctx ends (ErrBusy). Layers are renamed aside first, so that a killed prune
// leaves no half layer under its name. A record of a newer sandboxrun, or a lease
// that cannot be read, ends it before anything is removed (ErrNewer, ErrCorrupt).
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	alone, err := s.alone(ctx)
	if err != nil {
		return Pruned{}, err
	}
	defer alone.Close() //nolint:errcheck // the lock ends with the descriptor
	return s.prune(ctx, o)
}

// used is what references and leases keep.
type used struct {
	blobs  map[string]bool // hex
	layers map[string]bool // hex of diff ID, or key with a variant
	images map[manifest.Digest]bool
}

func (s *Store) prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	keep := used{blobs: map[string]bool{}, layers: map[string]bool{}, images: map[manifest.Digest]bool{}}
	var p Pruned
	var gone []string
	// Leases first: they say which references stay.
	err := s.eachLease(func(name string, l lease, err error) error {
		// What a lease keeps that cannot be read, nobody knows.
		if err != nil {
			return fmt.Errorf("cannot prune: lease %s: %w; run image fsck --repair", name, err)
		}
		if !l.held() {
			p.Leases.add(diskUsage(s.path(leasesDir, name)))
			gone = append(gone, s.path(leasesDir, name))
			return nil
		}
		for _, key := range l.Layers {
			keep.layers[key] = true
		}
		if l.Image != "" {
			keep.images[l.Image] = true
			s.keepImage(l.Image, &keep)
		}
		return nil
	})
	if err != nil {
		return Pruned{}, err
	}
	err = s.eachReference(func(name string, r reference, err error) error {
		if errors.Is(err, ErrNewer) {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // told and repaired by Fsck
		}
		if o.Images && !keep.images[r.Digest] {
			p.References = append(p.References, r.Reference)
			gone = append(gone, s.path(imagesDir, name))
			return nil
		}
		s.keepImage(r.Digest, &keep)
		return nil
	})
	if err != nil {
		return Pruned{}, err
	}
	if err := s.markLayers(ctx, o, &keep, &p, &gone); err != nil {
		return Pruned{}, err
	}
	if err := s.markBlobs(ctx, &keep, &p, &gone); err != nil {
		return Pruned{}, err
	}
	return p, s.remove(ctx, o, gone, &p)
}

// keepImage keeps an image's documents, packed layers and unpacked layers of all
// variants. A broken image keeps what can be read of it.
func (s *Store) keepImage(d manifest.Digest, keep *used) {
	keep.blobs[d.Hex()] = true
	data, err := s.ReadBlob(d)
	if err != nil {
		return
	}
	m, err := manifest.ParseManifest(data)
	if err != nil {
		return
	}
	keep.blobs[m.Config.Digest.Hex()] = true
	for _, layer := range m.Layers {
		keep.blobs[layer.Digest.Hex()] = true
	}
	data, err = s.ReadBlob(m.Config.Digest)
	if err != nil {
		return
	}
	c, err := manifest.ParseConfig(data)
	if err != nil {
		return
	}
	for _, diffID := range c.RootFS.DiffIDs {
		keep.layers[diffID.Hex()] = true
	}
}

func (s *Store) markLayers(ctx context.Context, o PruneOptions, keep *used, p *Pruned, gone *[]string) error {
	return s.eachLayer(func(key string, r layerRecord, err error) error {
		if errors.Is(err, ErrNewer) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		diffID, _, _ := strings.Cut(key, "-")
		if err == nil && r.trusted() && (keep.layers[key] || keep.layers[diffID]) {
			if o.PackedLayers && r.Settled {
				delete(keep.blobs, r.Blob.Hex())
			}
			return nil
		}
		path := s.path(layersDir, key)
		p.Layers.add(diskUsage(path))
		*gone = append(*gone, path)
		return nil
	})
}

func (s *Store) markBlobs(ctx context.Context, keep *used, p *Pruned, gone *[]string) error {
	for _, part := range []struct {
		dir   string
		count *Count
	}{{blobsDir, &p.Blobs}, {partialDir, &p.Partial}} {
		entries, err := os.ReadDir(s.path(part.dir))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if part.dir == blobsDir && keep.blobs[entry.Name()] {
				continue
			}
			path := s.path(part.dir, entry.Name())
			part.count.add(diskUsage(path))
			*gone = append(*gone, path)
		}
	}
	return nil
}

// remove carries the plan out: references first, so that a killed prune leaves no
// reference to what is gone.
func (s *Store) remove(ctx context.Context, o PruneOptions, gone []string, p *Pruned) error {
	if o.DryRun {
		entries, err := os.ReadDir(s.path(tmpDir))
		for _, entry := range entries {
			p.Temporary.add(diskUsage(s.path(tmpDir, entry.Name())))
		}
		return err
	}
	for _, path := range gone {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.discard(path); err != nil {
			return err
		}
	}
	p.Temporary = s.sweep()
	return nil
}
