package hostroot

import "errors"

// How is the way something is hidden.
type How string

const (
	// Absent: it is not there at all (a whiteout).
	Absent How = "absent"
	// EmptyDir: the directory is there, with its mode and owner, and empty.
	EmptyDir How = "empty directory"
	// EmptyTmp: as EmptyDir, with mode 1777.
	EmptyTmp How = "empty directory for all"
)

// Hidden is one thing that is hidden.
type Hidden struct {
	// Path is absolute; its last component may be a pattern of path.Match.
	Path string
	How  How
	// Why is a clause for people.
	Why string
}

// Default returns what is hidden of every host, sorted by path.
func Default() []Hidden { return nil }

// View is a host's root made ready for an overlay.
type View struct {
	// Layers from the lowest to the highest: the root and the hiding layer.
	Layers []string
	// Hidden are the paths that existed and are hidden, patterns resolved.
	Hidden []Hidden
	// Submounts are the mount points below the root that the view does not have,
	// except those under what is hidden and /proc, /sys, /dev.
	Submounts []string
}

// Make fills the empty directory dir with the layer that hides hide of the root
// filesystem root ("/" but in tests). form is unpack's: Overlay or OverlayUser, given as
// userxattr.
func Make(dir, root string, hide []Hidden, userxattr bool) (View, error) {
	return View{}, errors.ErrUnsupported
}
