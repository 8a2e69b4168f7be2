package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// keepCgroupOptions calls do, which lets CRIU work. CRIU mounts cgroup2 for its
// own use, without options, and in the host's cgroup namespace a mount sets those
// of the one superblock that there is: the host would lose nsdelegate and
// memory_recursiveprot (cgroup_namespaces(7); runc issue 5258).
//
// Two at once would take each other's work for the host's options, whatever their
// state roots are, so that the mount itself is locked. One that waits for another
// CRIU (lazy) must not: what it waits for may be the other.
func (r *Runtime) keepCgroupOptions(lazy bool, do func() error) error {
	before, err := cgroup2Mount()
	if err != nil {
		return err
	}
	if before != nil && !lazy {
		unlock, err := lockDirectory(before.Mountpoint)
		if err != nil {
			return err
		}
		defer unlock()
		if before, err = cgroup2Mount(); err != nil {
			return err
		}
	}
	err = do()
	if restoreErr := before.restoreOptions(); restoreErr != nil {
		r.log.Warn("CRIU has changed the options of the host's cgroup2 mount; remount it", "options", before.VFSOptions, "error", restoreErr)
	}
	return err
}

// lockDirectory takes an advisory lock (flock(2)) that ends with unlock or the
// process.
func lockDirectory(path string) (unlock func(), _ error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return func() { unix.Close(fd) }, nil
}

// hostCgroup2 is a mount of cgroup2 as it was found; nil where none is.
type hostCgroup2 mountinfo.Info

func (m *hostCgroup2) restoreOptions() error {
	if m == nil {
		return nil
	}
	now, err := cgroup2Mount()
	if err != nil || now == nil || now.VFSOptions == m.VFSOptions {
		return err
	}
	return setSuperblockFlags(m.Mountpoint, m.VFSOptions)
}

func cgroup2Mount() (*hostCgroup2, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		is := m.FSType == "cgroup2"
		return !is, is
	})
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	if len(mounts) == 0 {
		return nil, nil
	}
	return (*hostCgroup2)(mounts[0]), nil
}

// setSuperblockFlags sets options that have no value, and leaves the flags of
// the mount as they are. options are those of mountinfo (proc_pid_mountinfo(5)).
func setSuperblockFlags(mountpoint, options string) error {
	fs, err := unix.Fspick(unix.AT_FDCWD, mountpoint, unix.FSPICK_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "fspick", Path: mountpoint, Err: err}
	}
	defer unix.Close(fs)
	for option := range strings.SplitSeq(options, ",") {
		if option == "rw" || option == "ro" {
			continue
		}
		if err := unix.FsconfigSetFlag(fs, option); err != nil {
			return fmt.Errorf("set option %s of %q: %w", option, mountpoint, err)
		}
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fmt.Errorf("set options %q of %q: %w", options, mountpoint, err)
	}
	return nil
}
