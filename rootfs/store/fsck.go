package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
)

// Finding is something that Fsck found.
type Finding struct {
	// Path is relative to the data root.
	Path string `json:"path"`
	// Problem is a clause: "its content has another digest".
	Problem string `json:"problem"`
	// Repaired says that it was removed.
	Repaired bool `json:"repaired"`
}

// Remake unpacks the layer's blob again, into the empty directory dir, as the
// layer was made.
type Remake func(ctx context.Context, blob io.Reader, layer Layer, dir string) error

// Fsck verifies every blob, record and reference and, if repair is set, removes
// what is broken; the next pull brings it back. remake, if not nil, makes trees
// again whose blob is there, to compare them file by file. It waits for writers
// until ctx ends (ErrBusy).
func (s *Store) Fsck(ctx context.Context, repair bool, remake Remake) ([]Finding, error) {
	alone, err := s.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer alone.Close() //nolint:errcheck // the lock ends with the descriptor
	c := &checker{store: s, repair: repair, remake: remake}
	for _, step := range []func(context.Context) error{c.leftovers, c.blobs, c.layers, c.references, c.leases} {
		if err := step(ctx); err != nil {
			return c.findings, err
		}
	}
	return c.findings, nil
}

type checker struct {
	store    *Store
	repair   bool
	remake   Remake
	findings []Finding
}

// found notes a problem and removes what has it.
func (c *checker) found(path, problem string) error {
	relative, err := filepath.Rel(c.store.root, path)
	if err != nil {
		return err
	}
	finding := Finding{Path: relative, Problem: problem}
	if c.repair {
		if err := c.store.discard(path); err != nil {
			return fmt.Errorf("repair %s: %w", relative, err)
		}
		finding.Repaired = true
	}
	c.findings = append(c.findings, finding)
	return nil
}

// leftovers are no damage; a repair sweeps them, and the temporary files of
// records that were being written.
func (c *checker) leftovers(context.Context) error {
	if !c.repair {
		return nil
	}
	c.store.sweep()
	for _, dir := range []string{"", imagesDir, leasesDir} {
		names, err := filepath.Glob(c.store.path(dir, ".*.tmp"))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) blobs(ctx context.Context) error {
	entries, err := os.ReadDir(c.store.path(blobsDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		problem, err := c.blob(ctx, entry)
		if err != nil {
			return err
		}
		if problem != "" {
			if err := c.found(c.store.path(blobsDir, entry.Name()), problem); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) blob(ctx context.Context, entry os.DirEntry) (problem string, err error) {
	d, err := manifest.ParseDigest("sha256:" + entry.Name())
	if err != nil || !entry.Type().IsRegular() {
		return "it is no blob", nil
	}
	f, err := c.store.Blob(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &untilDone{ctx, f}); err != nil {
		return "", fmt.Errorf("read blob %s: %w", d, err)
	}
	if manifest.FromSum(h.Sum(nil)) != d {
		return "its content has another digest", nil
	}
	return "", nil
}

func (c *checker) layers(ctx context.Context) error {
	return c.store.eachLayer(func(key string, r layerRecord, err error) error {
		path := c.store.path(layersDir, key)
		switch {
		case errors.Is(err, ErrNewer):
			return err
		case err != nil:
			return c.found(path, "its record cannot be read: "+err.Error())
		case !r.trusted():
			return c.found(path, "the machine was restarted before it was on disk")
		}
		info, err := os.Lstat(path + "/fs")
		if err != nil || !info.IsDir() {
			return c.found(path, "its tree is missing")
		}
		problem, err := c.compareTree(ctx, c.store.layer(r))
		if err != nil || problem == "" {
			return err
		}
		return c.found(path, problem)
	})
}

// compareTree makes the layer again and compares the two trees.
func (c *checker) compareTree(ctx context.Context, layer Layer) (problem string, retErr error) {
	if c.remake == nil || layer.Blob == "" || !c.store.HasBlob(layer.Blob) {
		return "", nil
	}
	blob, err := c.store.Blob(layer.Blob)
	if err != nil {
		return "", err
	}
	defer blob.Close()
	temp, err := c.store.tempDir("fsck-")
	if err != nil {
		return "", err
	}
	defer func() { retErr = errors.Join(retErr, removeTree(temp)) }()
	_, err = fillLayer(temp, func(dir string) (Layer, error) { return Layer{}, c.remake(ctx, blob, layer, dir) })
	if err != nil {
		return "", fmt.Errorf("make layer %s again: %w", layer.DiffID, err)
	}
	want, err := tree.Digest(temp+"/fs", tree.Options{})
	if err != nil {
		return "", err
	}
	got, err := tree.Digest(layer.Dir, tree.Options{})
	if err != nil {
		return "", err
	}
	if got != want {
		return "its tree differs from what its blob makes", nil
	}
	return "", nil
}

func (c *checker) references(context.Context) error {
	return c.store.eachReference(func(name string, r reference, err error) error {
		path := c.store.path(imagesDir, name)
		switch {
		case errors.Is(err, ErrNewer):
			return err
		case err != nil:
			return c.found(path, "its record cannot be read: "+err.Error())
		}
		m, config, err := c.store.Documents(r.Digest)
		if err != nil {
			return c.found(path, fmt.Sprintf("image %q is broken: %v", r.Reference, err))
		}
		for i, diffID := range config.RootFS.DiffIDs {
			if !c.hasLayer(diffID) && !c.store.HasBlob(m.Layers[i].Digest) {
				return c.found(path, fmt.Sprintf("image %q lacks layer %s", r.Reference, diffID))
			}
		}
		return nil
	})
}

// hasLayer tells whether the layer is there in any variant.
func (c *checker) hasLayer(diffID manifest.Digest) bool {
	found := false
	_ = c.store.eachLayer(func(key string, r layerRecord, err error) error {
		found = found || (err == nil && r.DiffID == diffID && r.trusted() && strings.HasPrefix(key, diffID.Hex()))
		return nil
	})
	return found
}

func (c *checker) leases(context.Context) error {
	return c.store.eachLease(func(name string, _ lease, err error) error {
		if err == nil || errors.Is(err, ErrNewer) {
			return err
		}
		return c.found(c.store.path(leasesDir, name), "its record cannot be read: "+err.Error())
	})
}
