package runtime

import (
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
func (r *Runtime) keepCgroupOptions(do func() error) error {
	before, err := cgroup2Mount()
	if err != nil {
		return err
	}
	err = do()
	if restoreErr := before.restoreOptions(); restoreErr != nil {
		r.log.Warn("CRIU has changed the options of the host's cgroup2 mount; remount it", "options", before.VFSOptions, "error", restoreErr)
	}
	return err
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
