package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// Mount mounts the root filesystem of the bundle in dir again, as after a reboot,
// and brings its secrets back. It returns false where both are there. The error
// wraps ErrNotBuilt, ErrNewer or ErrGone.
func Mount(ctx context.Context, st *store.Store, dir string, o Options) (mounted bool, _ error) {
	r, err := LoadOwn(dir)
	if err != nil {
		return false, err
	}
	err = withLock(ctx, st, r, func(p places) error {
		if !hasSecrets(p, r) {
			if err := writeSecrets(dir, p.secrets, r.Secrets, o); err != nil {
				return err
			}
			mounted = true
		}
		if IsMounted(dir, r) {
			return nil
		}
		mounted = true
		return remount(ctx, st, dir, r, p, o)
	})
	return mounted && err == nil, err
}

func hasSecrets(p places, r Record) bool {
	for _, s := range r.Secrets {
		if _, err := os.Lstat(filepath.Join(p.secrets, s.Name)); err != nil {
			return false
		}
	}
	return true
}

// IsMounted tells whether the bundle's root filesystem is there. Where layers are
// copied there is no mount, and the copy stays.
func IsMounted(dir string, r Record) bool {
	rootfs := filepath.Join(dir, rootfsDir)
	if r.Method == overlay.Reflink || r.Method == overlay.Copy {
		entries, err := os.ReadDir(rootfs)
		return err == nil && len(entries) > 0
	}
	var above, root unix.Stat_t
	return unix.Stat(dir, &above) == nil && unix.Stat(rootfs, &root) == nil && above.Dev != root.Dev
}

func remount(ctx context.Context, st *store.Store, dir string, r Record, p places, o Options) (retErr error) {
	writer, err := st.Write(ctx)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, writer.Close()) }()
	layers, err := storedLayers(st, r)
	if err != nil {
		return fmt.Errorf("cannot mount bundle %q: %w; \"sandboxrun image pull\" or \"image load\" of %s brings it back", dir, err, r.Reference)
	}
	lower := r.lower(p, layers)
	// Left by the last mount; overlayfs wants it empty.
	if err := os.RemoveAll(p.work()); err != nil {
		return fmt.Errorf("clear work directory: %w", err)
	}
	if err := os.Mkdir(p.work(), 0o700); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	err = overlay.Mount(ctx, overlay.Root{
		Target: filepath.Join(dir, rootfsDir), Layers: lower, Upper: p.upper(), Work: p.work(), Method: r.Method, Log: o.Log,
	})
	if err != nil {
		return err
	}
	return pin(st, r, dir, r.Digest, layers)
}

// lower returns the layers of a bundle that was built, as Build put them together.
func (r Record) lower(p places, layers []store.Layer) []string {
	if r.Host {
		return []string{"/"}
	}
	lower := directories(layers)
	if len(lower) == 0 {
		lower = []string{p.empty()}
	}
	if r.Files {
		lower = append(lower, p.files())
	}
	return lower
}

// directories returns the layers' trees, each once: overlayfs refuses the same
// directory twice, and of equal layers the highest one decides.
func directories(layers []store.Layer) []string {
	var dirs []string
	for _, layer := range slices.Backward(layers) {
		if !slices.Contains(dirs, layer.Dir) {
			dirs = append(dirs, layer.Dir)
		}
	}
	slices.Reverse(dirs)
	return dirs
}

// storedLayers finds the layers of a bundle in the store.
func storedLayers(st *store.Store, r Record) ([]store.Layer, error) {
	layers := make([]store.Layer, len(r.Layers))
	for i, id := range r.Layers {
		layer, err := st.Layer(id, r.Variant)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGone, err)
		}
		layers[i] = layer
	}
	return layers, nil
}
