package unpack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xattrRecord begins the PAX records of extended attributes, as GNU tar, Go and
// every image builder write them.
const xattrRecord = "SCHILY.xattr."

const capabilityXattr = "security.capability"

// overlayXattrs begin the names that overlay filesystems keep their own notes in.
// An image that could set them could have a directory stand for another, or for the content
// of a file of another layer (overlayfs.rst, "redirect_dir" and "metacopy").
var overlayXattrs = []string{"trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.", "trusted.fuseoverlayfs."}

// setXattrs sets those xattrs of an entry's PAX records that are kept, in the
// order of their names. What the filesystem or the caller's rights do not allow is left
// out with a warning.
func (x *extractor) setXattrs(entry string, records map[string]string, set func(name string, value []byte) error) error {
	var names []string
	for key := range records {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !x.keeps(name) {
			x.skip("leave out an xattr", "entry", entry, "xattr", name)
			continue
		}
		value := []byte(records[xattrRecord+name])
		if name == capabilityXattr {
			mapped, ok := x.options.mapCapability(value)
			if !ok {
				x.skip("leave out a file capability that cannot be mapped", "entry", entry)
				continue
			}
			value = mapped
		}
		if strings.HasPrefix(name, "system.posix_acl_default") {
			x.inherit = true
		}
		switch err := set(name, value); {
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			x.skip("leave out an xattr that is not possible here", "entry", entry, "xattr", name, "error", err)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.E2BIG):
			return &EntryError{Name: entry, Reason: fmt.Sprintf("its xattr %.100q is not valid", name), err: err}
		case err != nil:
			return fmt.Errorf("set xattr %q: %w", name, err)
		}
	}
	return nil
}

func (x *extractor) keeps(name string) bool {
	for _, own := range overlayXattrs {
		if strings.HasPrefix(name, own) {
			return false
		}
	}
	if name == capabilityXattr || strings.HasPrefix(name, "user.") {
		return true
	}
	return x.options.KeepXattr != nil && x.options.KeepXattr(name)
}

// setNodeXattrs sets those of a link, fifo or device, which cannot be opened. The name goes by a
// descriptor, and lsetxattr does not follow its last component.
func (x *extractor) setNodeXattrs(entry string, parent int, base string, f facts) error {
	if f.xattrs == nil {
		return nil
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	return x.setXattrs(entry, f.xattrs, func(name string, value []byte) error { return unix.Lsetxattr(path, name, value, 0) })
}

// postponedModes bounds how many directories may be closed to their owner, for
// callers without rights, who have to set those modes last.
const postponedModes = 1 << 16

func (x *extractor) postpone(name string, mode uint32) error {
	if x.modes == nil {
		x.modes = map[string]uint32{}
	}
	if len(x.modes) >= postponedModes {
		return &EntryError{Name: name, Reason: "the layer has more than 65536 directories that their owner may not use; unpack it as root"}
	}
	x.modes[strings.Clone(name)] = mode
	return nil
}

// settleDirectories sets what the making of entries would have changed or
// hindered: times, then modes from the deepest directory up.
func (x *extractor) settleDirectories() error {
	err := x.times.each(func(name string, times *[2]unix.Timespec) error {
		parent, base, err := x.existing(name)
		if err != nil {
			return nil //nolint:nilerr // a later entry or whiteout removed it
		}
		if err := utimensat(parent, base, times); err != nil && !errors.Is(err, unix.ENOENT) {
			return x.explain(name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	names := make([]string, 0, len(x.modes))
	for name := range x.modes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		fd, err := x.dirs.beneathRoot(name)
		if err != nil {
			continue // removed again
		}
		// O_PATH descriptors have no fchmod(2); /proc gives the way to the same file.
		err = unix.Fchmodat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), x.modes[name], 0)
		unix.Close(fd)
		if err != nil {
			return x.explain(name, err)
		}
	}
	return nil
}

// existing returns where the directory name is, without making anything.
func (x *extractor) existing(name string) (parent int, base string, err error) {
	if name == "" {
		return x.dirs.root, ".", nil
	}
	parentName, base := split(name)
	x.dirs.imply = func(int, string, string) error { return unix.EEXIST }
	parent, err = x.dirs.get(parentName)
	return parent, base, err
}

// beneathRoot opens an existing directory, "" for the root, for the caller to
// close.
func (d *dirs) beneathRoot(name string) (int, error) {
	if name == "" {
		name = "."
	}
	return d.beneath(name)
}

// utimensat sets the times of base itself, also of a link.
func utimensat(parent int, base string, times *[2]unix.Timespec) error {
	return unix.UtimesNanoAt(parent, base, times[:], unix.AT_SYMLINK_NOFOLLOW)
}

// futimens is utimensat(2) on a descriptor, for which there is no wrapper.
func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func pwriteAll(fd int, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}
