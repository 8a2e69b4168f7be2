package overlay

import (
	"context"
	"errors"
	"log/slog"
)

var (
	// ErrNoMethod says that no way of making a root works here.
	ErrNoMethod = errors.New("no way to make a root of layers works here")
	// ErrBusy says that a root is in use and cannot be unmounted.
	ErrBusy = errors.New("the root is in use")
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

// Ability is what Probe found.
type Ability struct {
	// Method is the best that works.
	Method Method
	// Filesystem of the directory, such as "ext4".
	Filesystem string
	// Refused says of every better method why it does not work.
	Refused []Refusal
}

// Refusal says why a method does not work.
type Refusal struct {
	Method Method
	Why    error
}

// String is one line for people: "copy (overlay: …; reflink: …)".
func (a Ability) String() string { return "" }

// Probe tries the methods in dir, an existing directory of the filesystem that
// roots will be on, best first, by doing each on a small tree that it removes
// again. The error wraps ErrNoMethod.
func Probe(ctx context.Context, dir string) (Ability, error) { return Ability{}, errors.ErrUnsupported }

// Root says what to mount where. All paths are absolute.
type Root struct {
	// Target is an existing empty directory.
	Target string
	// Layers from the lowest to the highest, at least one.
	Layers []string
	// Upper and Work are existing directories on one filesystem, Work empty. Both
	// empty: the root is read-only (Copy and Reflink: a copy that nobody else has).
	Upper, Work string
	// Method is what Probe said.
	Method Method
	// Volatile leaves out syncs (overlayfs.rst, "Volatile mount"): for roots that do
	// not outlive a crash.
	Volatile bool
	Log      *slog.Logger
}

// Mount makes the root. On an error nothing is mounted or left in Target.
func Mount(ctx context.Context, r Root) error { return errors.ErrUnsupported }

// Unmount takes the root off target: whatever is mounted there, all of it, then what a
// copying method left. A target that is not mounted or does not exist is no error.
// ErrBusy where a process still uses it.
func Unmount(target string) error { return errors.ErrUnsupported }

// Remove is Unmount of target, then the removal of target, upper and work ("" for
// none), following no link. It is idempotent.
func Remove(target, upper, work string) error { return errors.ErrUnsupported }
