package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
)

// Method is a way to make one root of several layers.
type Method string

// The methods, best first.
const (
	// Kernel is overlayfs with trusted xattrs; for root.
	Kernel Method = "overlay"
	// KernelUser is overlayfs with the option userxattr, in a user namespace
	// (Linux 5.11).
	KernelUser Method = "overlay-userxattr"
	// Fuse is the program fuse-overlayfs.
	Fuse Method = "fuse-overlayfs"
	// Reflink copies the layers, sharing blocks (btrfs, xfs).
	Reflink Method = "reflink"
	// Copy copies the layers in full, hard links and xattrs kept.
	Copy Method = "copy"
)

// methods in the order of preference.
var methods = []Method{Kernel, KernelUser, Fuse, Reflink, Copy}

// Root says what to mount where. All paths are absolute.
type Root struct {
	// Target is an existing empty directory.
	Target string
	// Layers from the lowest to the highest, at least one, each once.
	Layers []string
	// Upper and Work are existing directories on one filesystem, Work empty. Both
	// empty: the root is read-only (Copy and Reflink: a copy that nobody else has).
	// The root directory's mode and owner are those of Upper, so it is made as the
	// highest layer's is.
	Upper, Work string
	// ReadOnly mounts the root read-only though it has an Upper, which then only
	// hides or adds (hostroot). Copy and Reflink do not heed it.
	ReadOnly bool
	// Method is what Probe said; empty is Kernel.
	Method Method
	// Volatile leaves out syncs (overlayfs.rst, "Volatile mount"; Linux 5.10): for
	// roots that do not outlive a crash of the machine.
	Volatile bool
	// Log may be nil.
	Log *slog.Logger
}

// Mount makes the root. On an error nothing is mounted, and nothing left in
// Target or Upper.
func Mount(ctx context.Context, r Root) error {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("cannot mount root at %q: %w", r.Target, err)
	}
	var err error
	switch r.Method {
	case Kernel, KernelUser, "":
		err = r.mountKernel()
	case Fuse:
		err = r.mountFuse(ctx)
	case Reflink, Copy:
		err = r.copy(ctx)
	default:
		err = fmt.Errorf("%w: method %q", ErrNoMethod, r.Method)
	}
	if err != nil {
		return fmt.Errorf("mount root at %q: %w", r.Target, err)
	}
	return nil
}

func (r *Root) check() error {
	if len(r.Layers) == 0 {
		return errors.New("it has no layers")
	}
	if (r.Upper == "") != (r.Work == "") {
		return errors.New("upper and work directory go together; name both or none")
	}
	paths := append([]string{r.Target}, r.Layers...)
	if r.Upper != "" {
		paths = append(paths, r.Upper, r.Work)
	}
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	return nil
}

func (r *Root) readOnly() bool { return r.ReadOnly || r.Upper == "" }
