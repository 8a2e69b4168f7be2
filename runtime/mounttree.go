package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountTree is a mount that is complete but in no place yet.
type mountTree struct {
	file        *os.File // as of open_tree(2) or fsmount(2)
	destination string   // in the container
	id          uint64
	isDir       bool
}

func closeTrees(trees []*mountTree) {
	for _, t := range trees {
		t.file.Close()
	}
}

// makeTrees makes the mounts on the host's side. It returns those that it made
// beside an error.
func (t *mountTarget) makeTrees(mounts []specs.Mount) ([]*mountTree, error) {
	parsed, err := parseMounts(mounts)
	if err != nil {
		return nil, err
	}
	var trees []*mountTree
	for _, m := range parsed {
		tree, err := t.makeTree(m)
		if err != nil {
			return trees, fmt.Errorf("mount at %q: %w", m.Destination, err)
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

// parseMounts has libcontainer read the options, as at a start, and refuses
// what cannot be had of a mount that is made from outside.
func parseMounts(mounts []specs.Mount) ([]*configs.Mount, error) {
	mounts = slices.Clone(mounts)
	for i := range mounts {
		m := &mounts[i]
		switch {
		case m.Destination == "":
			return nil, fmt.Errorf("cannot mount %q: mounts[%d].destination is empty", m.Source, i)
		case isBind(m) && !filepath.IsAbs(m.Source):
			return nil, fmt.Errorf("cannot mount %q: the source of a bind mount must be absolute", m.Source)
		case isBind(m) && m.Type == "bind":
			// The type says it as well as the option does.
			m.Options = append([]string{"bind"}, m.Options...)
		}
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: cgroupPrefix,
		Spec:       &specs.Spec{Root: &specs.Root{Path: "/"}, Mounts: mounts, Linux: &specs.Linux{}},
	})
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range config.Mounts {
		if err := checkLiveMount(m); err != nil {
			return nil, fmt.Errorf("cannot mount at %q: %w", m.Destination, err)
		}
	}
	return config.Mounts, nil
}

// attributes are the options of a single mount, by their flags of mount(2).
// Others are the file system's.
func attributes() []struct {
	flag      int
	attribute uint64
} {
	return []struct {
		flag      int
		attribute uint64
	}{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
		{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
		{unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME},
		{unix.MS_RELATIME, unix.MOUNT_ATTR_RELATIME},
		{unix.MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME},
	}
}

const accessTimes = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

func checkLiveMount(m *configs.Mount) error {
	rest := (m.Flags | m.ClearedFlags) &^ (unix.MS_BIND | unix.MS_REC | unix.MS_SILENT)
	for _, a := range attributes() {
		rest &^= a.flag
	}
	switch {
	case !m.IsBind() && m.Device != "tmpfs":
		return fmt.Errorf("type %q is neither bind nor tmpfs, and no other file system can be mounted into a container that runs", m.Device)
	case rest != 0:
		return errors.New("remount, sync, dirsync, mand, lazytime and iversion are not for a mount that is added")
	case m.Extensions != 0:
		return errors.New("tmpcopyup is only for a container's start")
	case m.IsBind() && m.Data != "":
		return fmt.Errorf("a bind mount has no option %q", m.Data)
	case !m.IsBind() && m.IDMapping != nil:
		return errors.New("only a bind mount can have id mappings")
	}
	return nil
}

func (t *mountTarget) makeTree(m *configs.Mount) (_ *mountTree, retErr error) {
	file, err := t.openTree(m)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			file.Close()
		}
	}()
	if m.IDMapping != nil {
		if err := t.mapOwners(file, m.IDMapping); err != nil {
			return nil, err
		}
	}
	if err := setAttributes(file, m); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	place, err := lookAt(file)
	if err != nil {
		return nil, err
	}
	return &mountTree{file: file, destination: m.Destination, id: place.mountID, isDir: info.IsDir()}, nil
}

func (t *mountTarget) openTree(m *configs.Mount) (*os.File, error) {
	if !m.IsBind() {
		return t.makeTmpfs(m)
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Flags&unix.MS_REC != 0 {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: m.Source, Err: err}
	}
	return os.NewFile(uintptr(fd), m.Source), nil
}

// makeTmpfs: its root belongs to the container's root unless the options say
// otherwise, as one that the container itself had mounted would.
func (t *mountTarget) makeTmpfs(m *configs.Mount) (*os.File, error) {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	uid, gid, err := t.rootIDs()
	if err != nil {
		return nil, err
	}
	options := []string{"uid=" + strconv.Itoa(uid), "gid=" + strconv.Itoa(gid)}
	if m.Data != "" {
		options = append(options, strings.Split(m.Data, ",")...)
	}
	if label := t.config.MountLabel; label != "" {
		options = append(options, "context="+label)
	}
	if m.Source != "" {
		options = append(options, "source="+m.Source)
	}
	for _, option := range options {
		key, value, hasValue := strings.Cut(option, "=")
		if hasValue {
			err = unix.FsconfigSetString(fd, key, value)
		} else {
			err = unix.FsconfigSetFlag(fd, key)
		}
		if err != nil {
			return nil, fmt.Errorf("set option %q of tmpfs: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fmt.Errorf("make tmpfs: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(mount), "tmpfs"), nil
}

// rootIDs are the host's user and group of the container's root.
func (t *mountTarget) rootIDs() (uid, gid int, err error) {
	uid, uidErr := t.config.HostRootUID()
	gid, gidErr := t.config.HostRootGID()
	return uid, gid, errors.Join(uidErr, gidErr)
}

// setAttributes also cuts the tree's propagation off from the host: a mount or
// unmount in the container must not happen there.
func setAttributes(tree *os.File, m *configs.Mount) error {
	base := unix.MS_PRIVATE
	for _, flag := range m.PropagationFlags {
		if flag&(unix.MS_SLAVE|unix.MS_SHARED) != 0 {
			base = unix.MS_SLAVE
		}
	}
	if err := setTree(tree, true, &unix.MountAttr{Propagation: uint64(base)}); err != nil {
		return err
	}
	for _, flag := range m.PropagationFlags {
		if err := setTree(tree, flag&unix.MS_REC != 0, &unix.MountAttr{Propagation: uint64(flag &^ unix.MS_REC)}); err != nil {
			return err
		}
	}
	attr := &unix.MountAttr{}
	for _, a := range attributes() {
		if m.Flags&a.flag != 0 {
			attr.Attr_set |= a.attribute
		}
		if m.ClearedFlags&a.flag != 0 {
			attr.Attr_clr |= a.attribute
		}
	}
	if (m.Flags|m.ClearedFlags)&accessTimes != 0 {
		attr.Attr_clr |= unix.MOUNT_ATTR__ATIME
	}
	if err := setTree(tree, false, attr); err != nil {
		return err
	}
	if m.RecAttr == nil {
		return nil
	}
	return setTree(tree, true, m.RecAttr)
}

func setTree(tree *os.File, recursive bool, attr *unix.MountAttr) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(tree.Fd()), "", flags, attr))
}

// mapOwners shows the tree's owners as the mappings say, or as the container's
// user namespace does.
func (t *mountTarget) mapOwners(tree *os.File, mapping *configs.MountIDMapping) error {
	var userns *os.File
	var err error
	switch {
	case len(mapping.UIDMappings) > 0 || len(mapping.GIDMappings) > 0:
		userns, err = newUserNamespace(mapping)
	case t.config.Namespaces.Contains(configs.NEWUSER):
		userns, err = os.Open("/proc/" + strconv.Itoa(t.pid) + "/ns/user")
	default:
		return errors.New("idmap without mappings takes those of the container's user namespace, and it has none; give uidMappings and gidMappings")
	}
	if err != nil {
		return err
	}
	defer userns.Close()
	err = setTree(tree, mapping.Recursive, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the file system of %q may not know idmapped mounts: %w", tree.Name(), err)
	}
	return err
}

// newUserNamespace returns a namespace with the mappings. Only a process can
// make one; it is held by ptrace(2) at its execve, before it has done anything.
func newUserNamespace(mapping *configs.MountIDMapping) (*os.File, error) {
	process, err := os.StartProcess("/proc/self/exe", []string{"sandboxrun"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: sysMappings(mapping.UIDMappings),
		GidMappings: sysMappings(mapping.GIDMappings),
		Ptrace:      true,
	}})
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	userns, err := os.Open("/proc/" + strconv.Itoa(process.Pid) + "/ns/user")
	err = errors.Join(err, process.Kill())
	process.Wait() //nolint:errcheck // reaps; that it was killed is known
	return userns, err
}

func sysMappings(list []configs.IDMap) []syscall.SysProcIDMap {
	var mappings []syscall.SysProcIDMap
	for _, m := range list {
		mappings = append(mappings, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return mappings
}
