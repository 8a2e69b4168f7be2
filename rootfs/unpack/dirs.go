package unpack

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// openHandles bounds the cache: a layer's entries come directory by directory,
// and few are open at once.
const openHandles = 64

// dirs opens directories of the tree by their archive names, never by a path that
// leaves it, and keeps the last ones open: most entries then cost no path walk.
//
// A name in the cache stays right as long as no directory or link on the way is
// removed; whoever removes calls forget.
type dirs struct {
	root int // O_PATH; of Layer
	open map[string]*handle
	last *handle
	tick uint64
	// imply makes a directory that the archive has no entry of (yet).
	imply func(parent int, base, name string) error
}

type handle struct {
	name string
	fd   int // O_PATH
	used uint64
}

// get returns a descriptor (O_PATH) of the directory name, "" for the root, which
// is valid until the next call. Directories on the way are made if they are missing.
func (d *dirs) get(name string) (int, error) {
	if name == "" {
		return d.root, nil
	}
	d.tick++
	if d.last != nil && d.last.name == name {
		d.last.used = d.tick
		return d.last.fd, nil
	}
	if h := d.open[name]; h != nil {
		h.used = d.tick
		d.last = h
		return h.fd, nil
	}
	fd, err := d.beneath(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		fd, err = d.make(name, err)
	}
	if err != nil {
		return -1, err
	}
	d.keep(name, fd)
	return fd, nil
}

// beneath opens an existing directory. The kernel refuses, with EXDEV, every link
// that leads out of the root.
func (d *dirs) beneath(name string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(d.root, name, how)
		if err == nil {
			return fd, nil
		}
		// EAGAIN: a rename somewhere on the machine while ".." of a link was walked.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return -1, err
		}
	}
}

// make makes the directory name and those above it.
func (d *dirs) make(name string, why error) (int, error) {
	parentName, base := split(name)
	parent, err := d.get(parentName)
	if err != nil {
		return -1, err
	}
	if err := d.imply(parent, base, name); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return -1, why // it is there, and no directory
		}
		return -1, err
	}
	return d.beneath(name)
}

func (d *dirs) keep(name string, fd int) {
	if len(d.open) >= openHandles {
		var oldest *handle
		for _, h := range d.open {
			if oldest == nil || h.used < oldest.used {
				oldest = h
			}
		}
		delete(d.open, oldest.name)
		unix.Close(oldest.fd)
	}
	h := &handle{name: strings.Clone(name), fd: fd, used: d.tick}
	d.open[h.name] = h
	d.last = h
}

// forget closes all descriptors: a directory or link was removed.
func (d *dirs) forget() {
	for _, h := range d.open {
		unix.Close(h.fd)
	}
	clear(d.open)
	d.last = nil
}

// split divides a clean name into its parent, "" for the root, and last component.
func split(name string) (parent, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// removeAll removes base below the directory parent, with all it contains, and
// follows no link. What does not exist is no error.
func removeAll(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := openDirectory(parent, base)
	if err != nil {
		return err
	}
	err = eachName(fd, func(name string) error { return removeAll(fd, name) })
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

func openDirectory(parent int, base string) (int, error) {
	return unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// eachName calls visit for every name in the directory fd, which visit may
// remove.
func eachName(fd int, visit func(name string) error) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if err := visit(name); err != nil {
				return err
			}
		}
	}
}
