package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// copy makes the root as a tree of its own in Target: layer by layer, as overlayfs
// would show them. Nothing is mounted. Upper and Work stay empty: what the sandbox
// writes goes to the copy.
func (r *Root) copy(ctx context.Context) (retErr error) {
	target, err := unix.Open(r.Target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: r.Target, Err: err}
	}
	defer unix.Close(target)
	if names, err := readNames(target); err != nil || len(names) > 0 {
		return errors.Join(err, fmt.Errorf("cannot copy layers to %q: it is not empty; empty it", r.Target))
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, removeContent(target))
		}
	}()
	for _, layer := range r.Layers {
		fd, err := unix.Open(layer, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: layer, Err: err}
		}
		c := &copier{ctx: ctx, root: target, reflink: r.Method == Reflink, links: map[inode]string{}}
		err = c.directory(fd, target, ".")
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("copy layer %q: %w", layer, err)
		}
	}
	return nil
}

type inode struct{ dev, ino uint64 }

// copier applies one layer to the tree.
type copier struct {
	ctx     context.Context // lives as long as the one copy
	root    int
	reflink bool
	links   map[inode]string // first path of files with several names
}

// directory applies the directory from to the existing directory to, whose path
// in the tree is name.
func (c *copier) directory(from, to int, name string) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if isOpaque(from) {
		if err := removeContent(to); err != nil {
			return err
		}
	}
	names, err := readNames(from)
	if err != nil {
		return err
	}
	for _, base := range names {
		if err := c.entry(from, to, base, path.Join(name, base)); err != nil {
			return fmt.Errorf("%q: %w", path.Join(name, base), err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if err := copyXattrs(fdPath(from), fdPath(to), true); err != nil {
		return err
	}
	return setTimes(to, ".", &st)
}

func (c *copier) entry(from, to int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return removeAll(to, base)
	}
	if kind == unix.S_IFDIR {
		return c.subdirectory(from, to, base, name)
	}
	if err := removeAll(to, base); err != nil {
		return err
	}
	if st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, seen := c.links[key]; seen {
			return c.link(first, to, base)
		}
		c.links[key] = name
	}
	switch kind {
	case unix.S_IFREG:
		return c.file(from, to, base, &st)
	case unix.S_IFLNK:
		return copyLink(from, to, base, &st)
	default:
		return copyNode(from, to, base, &st)
	}
}

func (c *copier) subdirectory(from, to int, base, name string) error {
	err := unix.Mkdirat(to, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var there unix.Stat_t
		if err := unix.Fstatat(to, base, &there, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		err = nil
		if there.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err := removeAll(to, base); err != nil {
				return err
			}
			err = unix.Mkdirat(to, base, 0o700)
		}
		if err != nil {
			return os.NewSyscallError("mkdirat", err)
		}
	} else if err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	source, err := openSub(from, base)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	destination, err := openSub(to, base)
	if err != nil {
		return err
	}
	defer unix.Close(destination)
	return c.directory(source, destination, name)
}

// link makes base another name of the copied file first. Nothing on the way is a
// link, since this copy made it of directories.
func (c *copier) link(first string, to int, base string) error {
	parent, err := unix.Openat2(c.root, path.Dir(first), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(parent)
	return os.NewSyscallError("linkat", unix.Linkat(parent, path.Base(first), to, base, 0))
}

func (c *copier) file(from, to int, base string, st *unix.Stat_t) error {
	source, err := unix.Openat(from, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(source)
	destination, err := unix.Openat(to, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	err = c.fill(source, destination, st)
	return errors.Join(err, unix.Close(destination))
}

func (c *copier) fill(source, destination int, st *unix.Stat_t) error {
	var err error
	if c.reflink {
		if st.Size > 0 {
			err = os.NewSyscallError("ioctl FICLONE", unix.IoctlFileClone(destination, source))
		}
	} else {
		err = copyData(source, destination, st.Size)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchown(destination, int(st.Uid), int(st.Gid)); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(destination, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if err := copyXattrs(fdPath(source), fdPath(destination), true); err != nil {
		return err
	}
	return setTimes(destination, "", st)
}

// copyData copies the parts that are no holes.
func copyData(source, destination int, size int64) error {
	if err := unix.Ftruncate(destination, size); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	for at := int64(0); at < size; {
		begin, err := unix.Seek(source, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		end, err := unix.Seek(source, begin, unix.SEEK_HOLE)
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if err := copyRange(source, destination, begin, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func copyRange(source, destination int, begin, end int64) error {
	buf := make([]byte, min(end-begin, 1<<20))
	for begin < end {
		n, err := unix.Pread(source, buf[:min(end-begin, int64(len(buf)))], begin)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return errors.Join(os.NewSyscallError("pread", err), errors.New("it changed while it was copied"))
		}
		for done := 0; done < n; {
			m, err := unix.Pwrite(destination, buf[done:n], begin+int64(done))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return os.NewSyscallError("pwrite", err)
			}
			done += max(m, 0)
		}
		begin += int64(n)
	}
	return nil
}

func copyLink(from, to int, base string, st *unix.Stat_t) error {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(from, base, buf)
	if err != nil {
		return os.NewSyscallError("readlinkat", err)
	}
	if err := unix.Symlinkat(string(buf[:n]), to, base); err != nil {
		return os.NewSyscallError("symlinkat", err)
	}
	if err := unix.Fchownat(to, base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	return setTimes(to, base, st)
}

func copyNode(from, to int, base string, st *unix.Stat_t) error {
	if err := unix.Mknodat(to, base, st.Mode&(unix.S_IFMT|0o777), int(st.Rdev)); err != nil {
		return os.NewSyscallError("mknodat", err)
	}
	if err := unix.Fchownat(to, base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	if err := unix.Fchmodat(to, base, st.Mode&0o7777, 0); err != nil {
		return os.NewSyscallError("fchmodat", err)
	}
	if err := copyXattrs(path.Join(fdPath(from), base), path.Join(fdPath(to), base), false); err != nil {
		return err
	}
	return setTimes(to, base, st)
}

// overlayPrefixes begin the xattrs that mean something to overlayfs only.
var overlayPrefixes = []string{"trusted.overlay.", "user.overlay."}

// copyXattrs copies all xattrs but overlay's own. follow is for names of
// descriptors, which are links.
func copyXattrs(from, to string, follow bool) error {
	list, get, set := unix.Llistxattr, unix.Lgetxattr, unix.Lsetxattr
	if follow {
		list, get, set = unix.Listxattr, unix.Getxattr, unix.Setxattr
	}
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX and XATTR_SIZE_MAX (xattr(7))
	n, err := list(from, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("listxattr", err)
	}
	for _, key := range bytes.Split(bytes.Clone(buf[:n]), []byte{0}) {
		name := string(key)
		if name == "" || slices.ContainsFunc(overlayPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		n, err := get(from, name, buf)
		if err != nil {
			return fmt.Errorf("getxattr %q: %w", name, err)
		}
		if err := set(to, name, buf[:n], 0); err != nil {
			return fmt.Errorf("setxattr %q: %w", name, err)
		}
	}
	return nil
}

func isOpaque(fd int) bool {
	buf := make([]byte, 8)
	for _, prefix := range overlayPrefixes {
		if n, err := unix.Fgetxattr(fd, prefix+"opaque", buf); err == nil && n == 1 && buf[0] == 'y' {
			return true
		}
	}
	return false
}

// setTimes sets the times of base in the directory fd, or of fd itself for "".
func setTimes(fd int, base string, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	if base == "" {
		return os.NewSyscallError("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), times, 0))
	}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, base, times, unix.AT_SYMLINK_NOFOLLOW))
}

func openSub(parent int, base string) (int, error) {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("openat", err)
}

// readNames returns the names in the directory fd, sorted, from its beginning.
func readNames(fd int) ([]string, error) {
	again, err := openSub(fd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// removeContent empties the directory fd.
func removeContent(fd int) error {
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAll(fd, name); err != nil {
			return err
		}
	}
	return nil
}

// removeAll removes base below parent, with all it contains, and follows no link.
func removeAll(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return os.NewSyscallError("unlinkat", err)
	}
	fd, err := openSub(parent, base)
	if err != nil {
		return err
	}
	err = removeContent(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	return os.NewSyscallError("unlinkat", unix.Unlinkat(parent, base, unix.AT_REMOVEDIR))
}
