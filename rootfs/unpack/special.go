package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

func (x *extractor) symlink(h *tar.Header, parent int, base string, f facts) error {
	switch {
	case h.Linkname == "":
		return &EntryError{Name: h.Name, Reason: "it is a symbolic link to nothing"}
	case len(h.Linkname) > maxName:
		return &EntryError{Name: h.Name, Reason: "the target of the symbolic link is longer than 4095 bytes"}
	case strings.IndexByte(h.Linkname, 0) >= 0:
		return &EntryError{Name: h.Name, Reason: "the target of the symbolic link has a NUL byte"}
	}
	// Any target is right: it is resolved by those inside, and never here.
	err := x.place(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	if err != nil {
		return err
	}
	if x.inherit || !x.learned || f.uid != x.uid || f.gid != x.gid {
		if err := x.own(unix.Fchownat(parent, base, f.uid, f.gid, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
			return err
		}
	}
	if err := x.setNodeXattrs(h.Name, parent, base, f); err != nil {
		return err
	}
	return utimensat(parent, base, &f.times)
}

func (x *extractor) hardLink(h *tar.Header, name string) error {
	target, reason := cleanName(h.Linkname, x.options.Limits.Depth)
	switch {
	case reason != "":
		return &EntryError{Name: h.Name, Reason: fmt.Sprintf("the target %.200q of the hard link is refused: %s", h.Linkname, strings.Replace(reason, "its name", "it", 1))}
	case target == "":
		return &EntryError{Name: h.Name, Reason: "it is a hard link to the root directory"}
	case target == name:
		return &EntryError{Name: h.Name, Reason: "it is a hard link to itself"}
	}
	targetParentName, targetBase := split(target)
	targetParent, err := x.dirs.beneathRoot(targetParentName)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return missingTarget(h)
		}
		return x.refuseParent(h.Name, err)
	}
	defer unix.Close(targetParent)
	var st unix.Stat_t
	if err := unix.Fstatat(targetParent, targetBase, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return missingTarget(h)
		}
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return &EntryError{Name: h.Name, Reason: fmt.Sprintf("it is a hard link to the directory %.200q", h.Linkname)}
	}
	if x.options.Form != Applied && isWhiteout(&st) {
		return missingTarget(h)
	}
	parentName, base := split(name)
	parent, err := x.dirs.get(parentName)
	if err != nil {
		return x.refuseParent(h.Name, err)
	}
	// Without AT_SYMLINK_FOLLOW: a link to a symbolic link is one to the link
	// itself, wherever that points.
	err = x.place(parent, base, func() error { return unix.Linkat(targetParent, targetBase, parent, base, 0) })
	if errors.Is(err, unix.ENOENT) {
		// The two names were the same file by way of a link, and place removed it.
		return missingTarget(h)
	}
	return err
}

func missingTarget(h *tar.Header) error {
	return &EntryError{Name: h.Name, Reason: fmt.Sprintf("it is a hard link to %.200q, which the layer does not have before it", h.Linkname)}
}

func (x *extractor) device(h *tar.Header, parent int, base string, f facts) error {
	mode := uint32(unix.S_IFCHR)
	if h.Typeflag == tar.TypeBlock {
		mode = unix.S_IFBLK
	}
	if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
		return &EntryError{Name: h.Name, Reason: fmt.Sprintf("device number %d:%d is out of range", h.Devmajor, h.Devminor)}
	}
	if mode == unix.S_IFCHR && h.Devmajor == 0 && h.Devminor == 0 {
		return &EntryError{Name: h.Name, Reason: "a character device 0:0 is overlay's own sign for a deleted file; layers say it by .wh. names"}
	}
	switch x.options.Devices {
	case SkipDevices:
		x.skip("leave out a device node", "entry", h.Name)
		return nil
	case RefuseDevices:
		return &EntryError{Name: h.Name, Reason: "it is a device node"}
	}
	return x.node(h, parent, base, mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))), f)
}

func (x *extractor) node(h *tar.Header, parent int, base string, kind uint32, device int, f facts) error {
	err := x.place(parent, base, func() error { return unix.Mknodat(parent, base, kind|f.mode&0o777, device) })
	if errors.Is(err, unix.EPERM) {
		return &EntryError{Name: h.Name, Reason: "a device node can be made by root only; leave devices out or run as root", err: err}
	}
	if err != nil {
		return err
	}
	if err := x.own(unix.Fchownat(parent, base, f.uid, f.gid, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return err
	}
	// fchmodat(2) follows links; this is the node just made.
	if err := unix.Fchmodat(parent, base, f.mode, 0); err != nil {
		return err
	}
	if err := x.setNodeXattrs(h.Name, parent, base, f); err != nil {
		return err
	}
	return utimensat(parent, base, &f.times)
}
