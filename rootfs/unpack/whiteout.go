package unpack

import (
	"errors"
	"fmt"
	"hash/maphash"

	"golang.org/x/sys/unix"
)

// isWhiteout tells whether st is of overlay's sign for a deleted file.
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// whiteOut deletes what layers below have under the name deleted. What this
// layer itself has there stays, whichever came first.
func (x *extractor) whiteOut(parent int, parentName, deleted string) error {
	if x.options.Form == Applied {
		name := deleted
		if parentName != "" {
			name = parentName + "/" + deleted
		}
		if x.isOurs(name) {
			return x.clearBelow(parent, deleted, name)
		}
		return x.clear(parent, deleted)
	}
	err := unix.Mknodat(parent, deleted, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("cannot make a whiteout: %w; use Linux 5.8 or later, or a filesystem that allows device nodes", err)
		}
		return err
	}
	fd, err := openDirectory(parent, deleted)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil // a file of this layer hides those below by being there
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.setOpaque(fd)
}

// hideBelow makes the directory parent opaque.
func (x *extractor) hideBelow(parent int, name string) error {
	fd, err := openDirectory(parent, ".")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if x.options.Form == Applied {
		return x.keepOurs(fd, name)
	}
	if name == "" {
		// overlayfs does not look for the xattr on a layer's root.
		x.hidesBelow = true
	}
	return x.setOpaque(fd)
}

func (x *extractor) setOpaque(fd int) error {
	name := "trusted.overlay.opaque"
	if x.options.Form == OverlayUser {
		name = "user.overlay.opaque"
	}
	if err := unix.Fsetxattr(fd, name, []byte("y"), 0); err != nil {
		return fmt.Errorf("cannot make the directory opaque: set %s: %w; use a filesystem with extended attributes", name, err)
	}
	return nil
}

// remember notes, in the form Applied, that this layer has the name. A hash is
// kept instead of the name, whose length the archive chooses; the seed is random,
// so that nobody can choose two names of one hash.
func (x *extractor) remember(name string) {
	if x.made != nil {
		x.made[maphash.String(x.seed, name)] = struct{}{}
	}
}

func (x *extractor) isOurs(name string) bool {
	_, ours := x.made[maphash.String(x.seed, name)]
	return ours
}

// clearBelow removes from the directory base all that this layer has not made; a
// file is this layer's and stays.
func (x *extractor) clearBelow(parent int, base, name string) error {
	fd, err := openDirectory(parent, base)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.keepOurs(fd, name)
}

// keepOurs removes from the directory fd, named name, all that this layer has not
// made.
func (x *extractor) keepOurs(fd int, name string) error {
	return eachName(fd, func(base string) error {
		child := base
		if name != "" {
			child = name + "/" + base
		}
		if x.isOurs(child) {
			return x.clearBelow(fd, base, child)
		}
		return x.clear(fd, base)
	})
}
