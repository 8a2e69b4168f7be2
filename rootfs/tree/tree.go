package tree

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Options choose what a description has.
type Options struct {
	// Times adds modification times (seconds.nanoseconds).
	Times bool
	// NoContent leaves out the SHA-256 of files' contents, which costs reading
	// them.
	NoContent bool
}

// Print writes the description of the directory dir to w: a line a file, sorted
// by path (byte order within a directory, parents first), of fields separated by a
// space:
//
//	path type mode uid gid size device time xattrs link content
//
// path is quoted as by strconv.Quote and begins with ".". type is one of f d l p s c b. mode
// is octal with the set-ID and sticky bits. size is that of regular files, else
// 0. device is major:minor of device nodes, else "-". time is "-" without
// Options.Times. xattrs is {name=hex,…} sorted, names quoted. link is the quoted target
// of a symbolic link, "=" and the quoted first path of a hard link group of
// the tree for its other members, else "-". content is "sha256:<hex>" of regular
// files with content, else "-".
//
// Of memory it needs some 100 bytes for each file with several links. The error
// is an errno with a path.
func Print(w io.Writer, dir string, o Options) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	p := &printer{w: bufio.NewWriter(w), options: o, links: map[inode]string{}}
	if err := p.file(fd, ".", "."); err != nil {
		return err
	}
	return p.w.Flush()
}

// Digest returns the SHA-256, as "sha256:<hex>", of what Print writes.
func Digest(dir string, o Options) (string, error) {
	h := sha256.New()
	if err := Print(h, dir, o); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

type inode struct{ dev, ino uint64 }

type printer struct {
	w       *bufio.Writer
	options Options
	links   map[inode]string
}

// kinds are the letters of ls, for each type of file.
var kinds = map[uint32]byte{
	unix.S_IFREG: 'f', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b',
}

// file prints base, in the directory parent, and what is below it; name is its
// path.
func (p *printer) file(parent int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	kind := kinds[st.Mode&unix.S_IFMT]
	size, device, link, content := int64(0), "-", "-", "-"
	var err error
	switch kind {
	case 'f':
		size = st.Size
	case 'l':
		link, err = readlink(parent, base)
	case 'c', 'b':
		device = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if err != nil {
		return &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	if kind != 'd' && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, seen := p.links[key]; seen {
			link = "=" + strconv.Quote(first)
		} else {
			p.links[key] = name
		}
	}
	if kind == 'f' && size > 0 && !p.options.NoContent && !strings.HasPrefix(link, "=") {
		if content, err = hashFile(parent, base); err != nil {
			return &os.PathError{Op: "read", Path: name, Err: err}
		}
	}
	xattrs, err := readXattrs(parent, base)
	if err != nil {
		return &os.PathError{Op: "getxattr", Path: name, Err: err}
	}
	when := "-"
	if p.options.Times {
		when = fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	if _, err := fmt.Fprintf(p.w, "%s %c %04o %d %d %d %s %s %s %s %s\n", strconv.Quote(name), kind, st.Mode&0o7777, st.Uid, st.Gid, size,
		device, when, xattrs, link, content); err != nil {
		return err
	}
	if kind != 'd' {
		return nil
	}
	return p.below(parent, base, name)
}

func (p *printer) below(parent int, base, name string) error {
	return Children(parent, base, name, func(dir int, child string) error {
		return p.file(dir, child, path.Join(name, child))
	})
}

// Children opens the directory base of parent, which no link stands for, and calls
// do with its descriptor and the name of each file in it, in the order of their
// bytes. name is for errors. It ends with do's first error.
func Children(parent int, base, name string, do func(dir int, child string) error) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, child := range names {
		if err := do(fd, child); err != nil {
			return err
		}
	}
	return nil
}

func readlink(parent int, base string) (string, error) {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(parent, base, buf)
	if err != nil {
		return "", err
	}
	return strconv.Quote(string(buf[:n])), nil
}

func hashFile(parent int, base string) (string, error) {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// readXattrs names the file by its directory's descriptor; the l… calls do not
// follow the last component.
func readXattrs(parent int, base string) (string, error) {
	name := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	list, err := grow(func(b []byte) (int, error) { return unix.Llistxattr(name, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return "{}", nil
	}
	if err != nil {
		return "", err
	}
	var fields []string
	for key := range bytes.SplitSeq(list, []byte{0}) {
		if len(key) == 0 {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return unix.Lgetxattr(name, string(key), b) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) {
			continue
		}
		if err != nil {
			return "", err
		}
		fields = append(fields, strconv.Quote(string(key))+"="+hex.EncodeToString(value))
	}
	slices.Sort(fields)
	return "{" + strings.Join(fields, ",") + "}", nil
}

// grow calls read with a buffer that is large enough.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := read(buf)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
