package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts are what an entry's file has beside its content.
type facts struct {
	uid, gid int
	mode     uint32 // permissions, set-ID and sticky bits
	times    [2]unix.Timespec
	xattrs   map[string]string // by PAX record
}

// make makes what is no whiteout.
func (x *extractor) make(h *tar.Header, content io.Reader, parent int, name, base string) error {
	f, err := x.facts(h)
	if err != nil {
		return err
	}
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return &EntryError{Name: h.Name, Reason: "it would replace the root directory"}
		}
		return x.top(f)
	}
	x.remember(name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return x.file(h, content, parent, base, f)
	case tar.TypeDir:
		return x.directory(parent, base, name, f)
	case tar.TypeSymlink:
		return x.symlink(h, parent, base, f)
	case tar.TypeLink:
		return x.hardLink(h, name)
	case tar.TypeFifo:
		return x.node(h, parent, base, unix.S_IFIFO, 0, f)
	case tar.TypeChar, tar.TypeBlock:
		return x.device(h, parent, base, f)
	}
	return &EntryError{Name: h.Name, Reason: fmt.Sprintf("its type %q is not one that a root filesystem has", h.Typeflag)}
}

func (x *extractor) facts(h *tar.Header) (facts, error) {
	f := facts{mode: uint32(h.Mode) & 0o7777, uid: x.uid, gid: x.gid}
	if !x.options.OwnAll {
		var reason string
		if f.uid, f.gid, reason = x.options.owner(h.Uid, h.Gid); reason != "" {
			return facts{}, &EntryError{Name: h.Name, Reason: reason}
		}
	}
	accessed := h.AccessTime
	if accessed.IsZero() {
		accessed = h.ModTime
	}
	f.times = [2]unix.Timespec{timespec(accessed), timespec(h.ModTime)}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, xattrRecord) {
			f.xattrs = h.PAXRecords
			break
		}
	}
	return f, nil
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// place makes base in parent by create, taking away what this layer or one below has
// there already: in an archive the last entry of a name counts. O_EXCL and its
// like see to it that nothing is written through what is there.
func (x *extractor) place(parent int, base string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := x.clear(parent, base); err != nil {
		return err
	}
	return create()
}

// clear removes base, and the handles that could be of directories below it.
func (x *extractor) clear(parent int, base string) error {
	// parent itself is a handle that forget would close.
	kept, err := unix.FcntlInt(uintptr(parent), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(kept)
	if err := removeAll(kept, base); err != nil {
		return err
	}
	for name, h := range x.dirs.open {
		if h.fd != parent {
			unix.Close(h.fd)
			delete(x.dirs.open, name)
		}
	}
	if x.dirs.last != nil && x.dirs.last.fd != parent {
		x.dirs.last = nil
	}
	return nil
}

func (x *extractor) file(h *tar.Header, content io.Reader, parent int, base string, f facts) error {
	fd := -1
	err := x.place(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, f.mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	if err := x.fill(fd, h, content, f); err != nil {
		unix.Close(fd)
		return err
	}
	// Network filesystems tell of a full disk here.
	return unix.Close(fd)
}

func (x *extractor) fill(fd int, h *tar.Header, content io.Reader, f facts) error {
	if !x.learned {
		if err := x.compare(fd, f); err != nil {
			return err
		}
	}
	write := x.write
	if isSparse(h) {
		write = x.writeSparse
	}
	if err := write(fd, content, h.Size); err != nil {
		return err
	}
	// In this order: a write and a chown take away set-ID bits and capabilities, and
	// all but utimensat change the times.
	if x.inherit || f.uid != x.uid || f.gid != x.gid {
		if err := x.own(unix.Fchown(fd, f.uid, f.gid)); err != nil {
			return err
		}
	}
	if x.modeDiffers(f) {
		if err := unix.Fchmod(fd, f.mode); err != nil {
			return err
		}
	}
	if f.xattrs != nil {
		if err := x.setXattrs(h.Name, f.xattrs, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
			return err
		}
	}
	return futimens(fd, &f.times)
}

// compare looks at the first file, whether it came out as asked for.
func (x *extractor) compare(fd int, f facts) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	x.learned = true
	if int(st.Gid) != x.gid || int(st.Uid) != x.uid || st.Mode&0o7777 != f.mode&0o777&^x.umask {
		x.inherit = true
	}
	return nil
}

// modeDiffers tells whether a new file has not got its mode by its making.
func (x *extractor) modeDiffers(f facts) bool {
	return x.inherit || f.mode&(x.umask|0o7000) != 0
}

// own explains a chown that the caller may not do.
func (x *extractor) own(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cannot set its owner: %w; unpack as root, in a user namespace that has the ID, or with every file owned by you", err)
	}
	return err
}

func (x *extractor) write(fd int, content io.Reader, size int64) error {
	for left := size; left > 0; {
		n, err := content.Read(x.buffer[:min(left, int64(len(x.buffer)))])
		if err := writeAll(fd, x.buffer[:n]); err != nil {
			return err
		}
		left -= int64(n)
		if err != nil && (left > 0 || !errors.Is(err, io.EOF)) {
			return &readError{unexpected(err)}
		}
	}
	return nil
}

// holeBlock is the granularity of holes: a page, the block of most filesystems.
const holeBlock = 4096

// writeSparse leaves out blocks of zeros. The archive says where they are, but the reader gives the zeros of a hole
// as data, so they are looked for.
func (x *extractor) writeSparse(fd int, content io.Reader, size int64) error {
	offset := int64(0)
	for offset < size {
		block := x.buffer[:min(size-offset, int64(len(x.buffer)))]
		if _, err := io.ReadFull(content, block); err != nil {
			return &readError{unexpected(err)}
		}
		for start := 0; start < len(block); {
			end := start
			hole := isZero(block[start:min(start+holeBlock, len(block))])
			for end < len(block) && isZero(block[end:min(end+holeBlock, len(block))]) == hole {
				end = min(end+holeBlock, len(block))
			}
			if !hole {
				if err := pwriteAll(fd, block[start:end], offset+int64(start)); err != nil {
					return err
				}
			}
			start = end
		}
		offset += int64(len(block))
	}
	return unix.Ftruncate(fd, size)
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.realsize", "GNU.sparse.size"} {
		if _, ok := h.PAXRecords[key]; ok {
			return true
		}
	}
	return false
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (x *extractor) directory(parent int, base, name string, f facts) error {
	hide := false
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			// The name was deleted and is a directory again: what is below must not
			// show in it.
			hide = x.options.Form != Applied && isWhiteout(&st)
			if err := x.clear(parent, base); err != nil {
				return err
			}
			err = unix.Mkdirat(parent, base, 0o700)
		} else {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return x.dress(parent, base, name, f, hide)
}

// dress gives a directory its owner, mode and xattrs, and notes its times, which
// its entries would change.
func (x *extractor) dress(parent int, base, name string, f facts, hide bool) error {
	fd, err := openDirectory(parent, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, f.uid, f.gid); err != nil {
		return x.own(err)
	}
	if f.mode&unix.S_ISGID != 0 {
		x.inherit = true
	}
	// A user without rights could not fill a directory that is closed to its owner.
	mode := f.mode
	if x.uid != 0 && mode&0o700 != 0o700 {
		if err := x.postpone(name, mode); err != nil {
			return err
		}
		mode |= 0o700
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	if hide {
		if err := x.setOpaque(fd); err != nil {
			return err
		}
	}
	if f.xattrs != nil {
		if err := x.setXattrs(name, f.xattrs, func(key string, value []byte) error { return unix.Fsetxattr(fd, key, value, 0) }); err != nil {
			return err
		}
	}
	return x.times.add(name, f.times)
}

// top dresses the tree's root.
func (x *extractor) top(f facts) error {
	return x.dress(x.dirs.root, ".", "", f, false)
}

// implyDirectory makes a directory that entries are in but that has none itself:
// as root's, 0755, and from the beginning of time, so that the same archive gives the
// same tree. A file that was deleted gives way.
func (x *extractor) implyDirectory(parent int, base, name string) error {
	f := facts{mode: 0o755, uid: x.uid, gid: x.gid}
	if !x.options.OwnAll {
		var reason string
		if f.uid, f.gid, reason = x.options.owner(0, 0); reason != "" {
			return &EntryError{Name: name, Reason: reason}
		}
	}
	hide := false
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) && x.options.Form != Applied {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if !isWhiteout(&st) {
			return unix.EEXIST
		}
		hide = true
		if err := unix.Unlinkat(parent, base, 0); err != nil {
			return err
		}
		err = unix.Mkdirat(parent, base, 0o700)
	}
	if err != nil {
		return err
	}
	x.remember(name)
	return x.dress(parent, base, name, f, hide)
}

func (x *extractor) skip(what string, attributes ...any) {
	x.skipped++
	x.options.Log.Warn(what, attributes...) //nolint:sloglint // a constant of the caller, one line above its count
}
