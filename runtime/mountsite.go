package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// mountSite is a thread in a container's mount namespace, which the kernel asks
// of whoever attaches or detaches there. Nothing of the container is executed,
// and no path of it is followed but below its root.
type mountSite struct {
	target *mountTarget
	fds    *os.File // this thread's descriptors, in the host's proc
}

// inside calls do on a thread of its own, which ends afterwards.
func (t *mountTarget) inside(do func(*mountSite) error) error {
	return onThrowAwayThread(func() error { return t.enter(do) })
}

func (t *mountTarget) enter(do func(*mountSite) error) error {
	// Go's threads share root and working directory, and setns wants them not to.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	fds, err := os.OpenFile("/proc/thread-self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fds.Close()
	if err := unix.Setns(int(t.pidfd.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", stoppedInstead(os.NewSyscallError("setns", err)))
	}
	return do(&mountSite{target: t, fds: fds})
}

// attach puts the trees in place, in order. On failure it takes all away again.
func (s *mountSite) attach(trees []*mountTree) error {
	for i, tree := range trees {
		if err := s.attachOne(tree); err != nil {
			err = fmt.Errorf("mount at %q: %w", tree.destination, err)
			for _, earlier := range trees[:i] {
				err = errors.Join(err, s.unmount(earlier.file))
			}
			return err
		}
	}
	return nil
}

func (s *mountSite) attachOne(tree *mountTree) error {
	place, err := s.openOrMake(tree)
	if err != nil {
		return err
	}
	defer place.Close()
	if err := s.mayMountAt(place); err != nil {
		return err
	}
	info, err := place.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() != tree.isDir {
		return errors.New("a directory can be mounted at a directory only, and a file at a file")
	}
	return os.NewSyscallError("move_mount",
		unix.MoveMount(int(tree.file.Fd()), "", int(place.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

func (s *mountSite) openOrMake(tree *mountTree) (*os.File, error) {
	place, err := s.open(tree.destination)
	if !errors.Is(err, unix.ENOENT) {
		return place, err
	}
	if err := s.makePlace(tree); err != nil {
		return nil, fmt.Errorf("cannot make the place for the mount: %w; make it in the image, or name another", err)
	}
	return s.open(tree.destination)
}

// open resolves a path as the container's processes do, by openat2(2) with
// RESOLVE_IN_ROOT and without the kernel's magic links.
func (s *mountSite) open(destination string) (*os.File, error) {
	return pathrs.OpenatInRoot(s.target.root, destination)
}

// makePlace makes a directory, or an empty file for the mount of a file, with
// no more rights to do so than the root of the container's user namespace has.
func (s *mountSite) makePlace(tree *mountTree) error {
	uid, gid, err := s.target.rootIDs()
	if err != nil {
		return err
	}
	// Both before any file is made; they are this thread's alone.
	if err := errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err != nil {
		return err
	}
	defer func() {
		unix.Setfsuid(0) //nolint:errcheck // cannot fail for root
		unix.Setfsgid(0) //nolint:errcheck // likewise
	}()
	clean := path.Clean("/" + tree.destination)
	if tree.isDir {
		made, err := pathrs.MkdirAllHandle(s.target.root, clean, 0o755)
		if err != nil {
			return err
		}
		return made.Close()
	}
	parent, err := pathrs.MkdirAllHandle(s.target.root, path.Dir(clean), 0o755)
	if err != nil {
		return err
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), path.Base(clean), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: clean, Err: err}
	}
	return unix.Close(fd)
}

// mayMountAt refuses places that decide what the container is. What is in proc
// is what later steps of an exec trust (CVE-2019-16884, CVE-2023-28642).
func (s *mountSite) mayMountAt(place *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(place.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type == unix.PROC_SUPER_MAGIC {
		return errors.New("cannot mount over or inside of proc")
	}
	here, err := lookAt(place)
	if err != nil {
		return err
	}
	root, err := lookAt(s.target.root)
	if err != nil {
		return err
	}
	if here == root {
		return errors.New("cannot mount over the container's root")
	}
	return nil
}

// detach removes the mount that the path leads to, if it is one of known, and
// takes it out of that.
func (s *mountSite) detach(destination string, known *addedMounts) error {
	place, err := s.open(destination)
	if err != nil {
		return fmt.Errorf("unmount %q: %w", destination, err)
	}
	defer place.Close()
	here, err := lookAt(place)
	if err != nil {
		return err
	}
	switch {
	case !here.isMount:
		return fmt.Errorf("cannot unmount %q: nothing is mounted there", destination)
	case !known.has(here.mountID):
		return fmt.Errorf("cannot unmount %q: what is mounted there was not added to the running container; only that can be removed", destination)
	}
	if err := s.unmount(place); err != nil {
		return fmt.Errorf("unmount %q: %w", destination, err)
	}
	known.forget(here.mountID)
	return nil
}

// unmount detaches the mount of a descriptor. umount2(2) takes paths only: this
// one leads by the host's proc to the descriptor itself.
func (s *mountSite) unmount(mount *os.File) error {
	if err := unix.Fchdir(int(s.fds.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("umount2", unix.Unmount(strconv.Itoa(int(mount.Fd())), unix.MNT_DETACH))
}

// place is what tells one directory or file in one mount from all others.
type place struct {
	mountID uint64
	device  uint64
	inode   uint64
	isMount bool // the root of its mount
}

func lookAt(file *os.File) (place, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return place{}, os.NewSyscallError("statx", err)
	}
	return place{
		mountID: st.Mnt_id,
		device:  unix.Mkdev(st.Dev_major, st.Dev_minor),
		inode:   st.Ino,
		isMount: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, nil
}
