package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/tree"
)

// Directory writes the tree below dir as a layer (tar in the PAX form, no
// whiteouts): names sorted, owners by number, modification times in nanoseconds,
// hard links, devices, and the xattrs security.capability and user.*.
func Directory(ctx context.Context, w io.Writer, dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	p := &packer{tar: tar.NewWriter(w), links: map[inode]string{}}
	if err := p.file(ctx, fd, ".", "./"); err != nil {
		return fmt.Errorf("pack %q: %w", dir, err)
	}
	if err := p.tar.Close(); err != nil {
		return fmt.Errorf("pack %q: %w", dir, err)
	}
	return nil
}

type inode struct{ dev, ino uint64 }

type packer struct {
	tar   *tar.Writer
	links map[inode]string
}

// file writes base of the directory parent, and what is below it, under name.
func (p *packer) file(ctx context.Context, parent int, base, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	h, err := header(&st, parent, base, name)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeDir && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, seen := p.links[key]; seen {
			h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
		} else {
			p.links[key] = name
		}
	}
	var content *os.File
	if h.Typeflag == tar.TypeReg && h.Size > 0 {
		if content, err = openFile(parent, base, name, &st); err != nil {
			return err
		}
		defer content.Close()
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write the header of %q: %w", name, err)
	}
	if content != nil {
		if _, err := io.CopyN(p.tar, content, h.Size); err != nil {
			return fmt.Errorf("read %q: %w; it must not change meanwhile", name, err)
		}
	}
	if h.Typeflag == tar.TypeDir {
		return p.below(ctx, parent, base, name)
	}
	return nil
}

func (p *packer) below(ctx context.Context, parent int, base, name string) error {
	return tree.Children(parent, base, name, func(dir int, child string) error {
		if strings.HasPrefix(child, ".wh.") {
			return fmt.Errorf("cannot pack %q: names that begin with .wh. mean deletions in a layer; rename it", path.Join(name, child))
		}
		return p.file(ctx, dir, child, path.Join(name, child))
	})
}

// openFile opens a regular file that is still the one st is of.
func openFile(parent int, base, name string, st *unix.Stat_t) (*os.File, error) {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Ino != st.Ino || now.Dev != st.Dev {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot pack %q: it was replaced while it was packed; try again when nothing writes there", name)
	}
	return os.NewFile(uintptr(fd), name), nil
}

var typeflags = map[uint32]byte{
	unix.S_IFREG: tar.TypeReg, unix.S_IFDIR: tar.TypeDir, unix.S_IFLNK: tar.TypeSymlink, unix.S_IFIFO: tar.TypeFifo,
	unix.S_IFCHR: tar.TypeChar, unix.S_IFBLK: tar.TypeBlock,
}

func header(st *unix.Stat_t, parent int, base, name string) (*tar.Header, error) {
	flag, ok := typeflags[st.Mode&unix.S_IFMT]
	if !ok {
		return nil, fmt.Errorf("cannot pack %q: a socket has no form in a layer; remove it", name)
	}
	h := &tar.Header{
		Typeflag: flag, Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch flag {
	case tar.TypeReg:
		h.Size = st.Size
	case tar.TypeDir:
		h.Name = strings.TrimSuffix(name, "/") + "/"
	case tar.TypeSymlink:
		buf := make([]byte, 4097)
		n, err := unix.Readlinkat(parent, base, buf)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		h.Linkname = string(buf[:n])
	case tar.TypeChar, tar.TypeBlock:
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if flag == tar.TypeReg || flag == tar.TypeDir {
		records, err := xattrs(parent, base)
		if err != nil {
			return nil, &os.PathError{Op: "getxattr", Path: name, Err: err}
		}
		h.PAXRecords = records
	}
	return h, nil
}

// xattrs returns those xattrs that layers carry, as PAX records.
func xattrs(parent int, base string) (map[string]string, error) {
	name := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX and XATTR_SIZE_MAX (xattr(7))
	n, err := unix.Llistxattr(name, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records map[string]string
	for key := range bytes.SplitSeq(bytes.Clone(buf[:n]), []byte{0}) {
		if string(key) != "security.capability" && !bytes.HasPrefix(key, []byte("user.")) {
			continue
		}
		n, err := unix.Lgetxattr(name, string(key), buf)
		if err != nil {
			return nil, err
		}
		// A PAX record cannot have a NUL byte in its key; the kernel's names have none.
		if records == nil {
			records = map[string]string{}
		}
		records["SCHILY.xattr."+string(key)] = string(buf[:n])
	}
	return records, nil
}
