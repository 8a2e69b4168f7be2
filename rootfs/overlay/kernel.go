package overlay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// openDir opens a directory of the store or a bundle; a link in its place is
// refused.
func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// handles are the descriptors of a root's directories, for names that are short
// and stay what they are.
type handles struct {
	layers              []int // highest first, as overlayfs wants them
	upper, work, target int
	all                 []int
}

func (r *Root) open() (h *handles, retErr error) {
	h = &handles{upper: -1, work: -1}
	defer func() {
		if retErr != nil {
			h.close()
		}
	}()
	open := func(path string) int {
		if retErr != nil {
			return -1
		}
		fd, err := openDir(path)
		if err != nil {
			retErr = err
			return -1
		}
		h.all = append(h.all, fd)
		return fd
	}
	h.target = open(r.Target)
	for i := len(r.Layers) - 1; i >= 0; i-- {
		h.layers = append(h.layers, open(r.Layers[i]))
	}
	if r.Upper != "" {
		h.upper, h.work = open(r.Upper), open(r.Work)
	}
	return h, retErr
}

func (h *handles) close() {
	for _, fd := range h.all {
		unix.Close(fd)
	}
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// mountKernel mounts overlayfs by the mount API of Linux 5.2, which says what was
// wrong; by mount(2) only where an older kernel's options are too short for it.
func (r *Root) mountKernel() error {
	h, err := r.open()
	if err != nil {
		return err
	}
	defer h.close()
	layers := h.layers
	if r.Upper == "" && len(layers) == 1 {
		// overlayfs wants two lower directories, or an upper one. An empty directory
		// below adds nothing.
		return r.bind(h)
	}
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigSetString(fsfd, "source", "overlay"); err != nil {
		return explain(fsfd, "source", err)
	}
	if err := setLayers(fsfd, layers); err != nil {
		// A context of before Linux 6.5 has a page for all options, and says EINVAL
		// when it is full.
		if errors.Is(err, errTooLong) || errors.Is(err, unix.EINVAL) {
			return r.mountOld(h)
		}
		return err
	}
	if r.Upper != "" {
		for _, option := range []struct {
			name string
			fd   int
		}{{"upperdir", h.upper}, {"workdir", h.work}} {
			if err := unix.FsconfigSetString(fsfd, option.name, fdPath(option.fd)); err != nil {
				return explain(fsfd, option.name, err)
			}
		}
	}
	if err := r.setFlags(fsfd); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		// Before Linux 6.5 overlayfs had no context of its own: any name was taken
		// above, and lowerdir+ is refused only here.
		if errors.Is(err, unix.EINVAL) && r.mountOld(h) == nil {
			return nil
		}
		return explain(fsfd, "create", err)
	}
	attributes := unix.MOUNT_ATTR_NODEV
	if r.readOnly() {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	mount, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return explain(fsfd, "fsmount", err)
	}
	defer unix.Close(mount)
	return attach(mount, h.target)
}

// errTooLong says that the layers' names do not fit into one value of fsconfig(2).
var errTooLong = errors.New("the layers' names are too long for fsconfig")

// setLayers names the lower directories: one by one since Linux 6.7 (lowerdir+),
// else in one string of names that are short.
func setLayers(fsfd int, layers []int) error {
	for i, fd := range layers {
		err := unix.FsconfigSetString(fsfd, "lowerdir+", fdPath(fd))
		if errors.Is(err, unix.EINVAL) && i == 0 {
			return setLowerdir(fsfd, layers)
		}
		if err != nil {
			return explain(fsfd, "lowerdir+", err)
		}
	}
	return nil
}

// maxOptionString is the longest value of fsconfig(2), less its NUL.
const maxOptionString = 255

func setLowerdir(fsfd int, layers []int) error {
	value := lowerdir(layers)
	if len(value) > maxOptionString {
		return errTooLong
	}
	if err := unix.FsconfigSetString(fsfd, "lowerdir", value); err != nil {
		return explain(fsfd, "lowerdir", err)
	}
	return nil
}

func lowerdir(layers []int) string {
	names := make([]string, len(layers))
	for i, fd := range layers {
		names[i] = fdPath(fd)
	}
	return strings.Join(names, ":")
}

// mountOld mounts by mount(2), whose options may have a page: some 230 layers.
func (r *Root) mountOld(h *handles) error {
	options := []string{"lowerdir=" + lowerdir(h.layers)}
	if r.Upper != "" {
		options = append(options, "upperdir="+fdPath(h.upper), "workdir="+fdPath(h.work))
	}
	for _, option := range r.flags() {
		options = append(options, strings.TrimSuffix(option[0]+"="+option[1], "="))
	}
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() {
		return fmt.Errorf("cannot name %d layers to this kernel, which takes %d bytes of options; use Linux 6.7 or later", len(h.layers), os.Getpagesize())
	}
	flags := uintptr(unix.MS_NODEV)
	if r.readOnly() {
		flags |= unix.MS_RDONLY
	}
	return os.NewSyscallError("mount", unix.Mount("overlay", fdPath(h.target), "overlay", flags, data))
}

// flags are the options that do not depend on paths. redirect_dir, metacopy and
// index are off whatever the module's defaults: the first two would let an xattr in a
// layer point elsewhere, the last refuses upper directories that were used with
// other layers.
func (r *Root) flags() [][2]string {
	options := [][2]string{{"redirect_dir", "nofollow"}, {"metacopy", "off"}}
	if r.Upper != "" {
		options = append(options, [2]string{"index", "off"})
	}
	if r.Method == KernelUser {
		options = [][2]string{{"userxattr", ""}} // excludes the others, which it turns off
	}
	if r.Volatile && r.Upper != "" {
		options = append(options, [2]string{"volatile", ""})
	}
	return options
}

func (r *Root) setFlags(fsfd int) error {
	for _, option := range r.flags() {
		var err error
		if option[1] == "" {
			err = unix.FsconfigSetFlag(fsfd, option[0])
		} else {
			err = unix.FsconfigSetString(fsfd, option[0], option[1])
		}
		if err != nil {
			return explain(fsfd, option[0], err)
		}
	}
	return nil
}

// bind mounts a single read-only layer without overlayfs.
func (r *Root) bind(h *handles) error {
	mount, err := unix.OpenTree(h.layers[0], "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(mount)
	attributes := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, attributes); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return attach(mount, h.target)
}

func attach(mount, target int) error {
	err := unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

// explain adds what the kernel wrote about a failed step to the descriptor
// (Documentation/filesystems/mount_api.rst).
func explain(fsfd int, step string, err error) error {
	buf := make([]byte, 4096)
	n, readErr := unix.Read(fsfd, buf)
	if readErr != nil || n < 3 {
		return fmt.Errorf("overlay %s: %w", step, err)
	}
	message := strings.TrimSpace(strings.ReplaceAll(string(buf[2:n]), "\n", " ")) // "e ", "w " or "i " before it
	return fmt.Errorf("overlay %s: %w: %s", step, err, message)
}
