package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// hostRoot is the root filesystem of a container that has no mount namespace of
// its own (runtime-spec, config-linux.md, "Namespaces": it inherits the
// runtime's). Its mounts are the host's: nothing but us removes them.
//
// Path gets a private bind mount of itself before libcontainer works, which
// makes the mount around it private, so that this is not the host's. All that
// is mounted later is above that one and goes with it.
type hostRoot struct {
	// Path is free of symbolic links.
	Path string `json:"path"`
	// Mounts is how many mounts there were at Path before.
	Mounts int `json:"mounts"`
}

// adaptHostRoot returns nil for a container with a mount namespace. For any
// other it keeps libcontainer from changing the propagation of the host's root.
func adaptHostRoot(config *configs.Config) (*hostRoot, error) {
	if config.Namespaces.Contains(configs.NEWNS) {
		return nil, nil
	}
	path, err := filepath.EvalSymlinks(config.Rootfs)
	if err != nil {
		return nil, fmt.Errorf("resolve root filesystem: %w", err)
	}
	config.Rootfs = path
	root := &hostRoot{Path: path}
	if root.Mounts, err = countMounts(path); err != nil {
		return nil, err
	}
	if config.RootPropagation, err = propagation("/"); err != nil {
		return nil, err
	}
	return root, nil
}

func (h *hostRoot) prepare() error {
	if h == nil {
		return nil
	}
	if err := unix.Mount(h.Path, h.Path, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "bind", Path: h.Path, Err: err}
	}
	if err := unix.Mount("", h.Path, "", unix.MS_PRIVATE, ""); err != nil {
		return &os.PathError{Op: "make private", Path: h.Path, Err: err}
	}
	return nil
}

// remove detaches what was mounted at and below the path. It is idempotent.
func (h *hostRoot) remove() error {
	if h == nil {
		return nil
	}
	for {
		count, err := countMounts(h.Path)
		if err != nil || count <= h.Mounts {
			return err
		}
		if err := unix.Unmount(h.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "unmount", Path: h.Path, Err: err}
		}
	}
}

func countMounts(path string) (int, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	if err != nil {
		return 0, fmt.Errorf("read mounts: %w", err)
	}
	return len(mounts), nil
}

// propagation returns the flag of mount(2) that changes nothing at a mount
// point.
func propagation(path string) (int, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return 0, fmt.Errorf("read mounts: %w", err)
	}
	if len(mounts) == 0 {
		return 0, errors.New("cannot find the mount at " + path + "; give the spec a mount namespace")
	}
	return propagationFlag(mounts[0].Optional), nil
}

// propagationFlag reads the optional fields of mountinfo (proc_pid_mountinfo(5)).
func propagationFlag(optional string) int {
	flag := unix.MS_PRIVATE
	for _, field := range strings.Fields(optional) {
		switch name, _, _ := strings.Cut(field, ":"); name {
		case "shared":
			// A slave that is shared too stays a slave.
			return unix.MS_SHARED
		case "master":
			flag = unix.MS_SLAVE
		case "unbindable":
			flag = unix.MS_UNBINDABLE
		}
	}
	return flag
}
