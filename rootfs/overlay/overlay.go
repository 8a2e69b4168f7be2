package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Method is a way to make one root of several layers.
type Method string

// The methods, best first.
const (
	// Kernel is overlayfs with trusted xattrs; for root.
	Kernel Method = "overlay"
	// KernelUser is overlayfs with the option userxattr, in a user namespace
	// (Linux 5.11).
	KernelUser Method = "overlay-userxattr"
	// Fuse is the program fuse-overlayfs.
	Fuse Method = "fuse-overlayfs"
	// Reflink copies the layers, sharing blocks (btrfs, xfs).
	Reflink Method = "reflink"
	// Copy copies the layers in full, hard links and xattrs kept.
	Copy Method = "copy"
)

// methods in the order of preference.
var methods = []Method{Kernel, KernelUser, Fuse, Reflink, Copy}

// Root says what to mount where. All paths are absolute.
type Root struct {
	// Target is an existing empty directory.
	Target string
	// Layers from the lowest to the highest, at least one, each once.
	Layers []string
	// Upper and Work are existing directories on one filesystem, Work empty. Both
	// empty: the root is read-only (Copy and Reflink: a copy that nobody else has).
	// The root directory's mode and owner are those of Upper, so it is made as the
	// highest layer's is.
	Upper, Work string
	// ReadOnly mounts the root read-only though it has an Upper, which then only
	// hides or adds (hostroot). Copy and Reflink do not heed it.
	ReadOnly bool
	// Method is what Probe said; empty is Kernel.
	Method Method
	// Volatile leaves out syncs (overlayfs.rst, "Volatile mount"; Linux 5.10): for
	// roots that do not outlive a crash of the machine.
	Volatile bool
	// Log may be nil.
	Log *slog.Logger
}

// Mount makes the root. On an error nothing is mounted, and nothing left in
// Target or Upper.
func Mount(ctx context.Context, r Root) error {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("cannot mount root at %q: %w", r.Target, err)
	}
	var err error
	switch r.Method {
	case Kernel, KernelUser, "":
		err = r.mountKernel()
	case Fuse:
		err = r.mountFuse(ctx)
	case Reflink, Copy:
		err = r.copy(ctx)
	default:
		err = fmt.Errorf("%w: method %q", ErrNoMethod, r.Method)
	}
	if err != nil {
		return fmt.Errorf("mount root at %q: %w", r.Target, err)
	}
	return nil
}

func (r *Root) check() error {
	if len(r.Layers) == 0 {
		return errors.New("it has no layers")
	}
	if (r.Upper == "") != (r.Work == "") {
		return errors.New("upper and work directory go together; name both or none")
	}
	paths := append([]string{r.Target}, r.Layers...)
	if r.Upper != "" {
		paths = append(paths, r.Upper, r.Work)
	}
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	return nil
}

func (r *Root) readOnly() bool { return r.ReadOnly || r.Upper == "" }

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

// Unmount takes the root off target: whatever is mounted there, all of it. A
// target that is not mounted or does not exist is no error. ErrBusy where a
// process still uses it. What a copying method put into target stays; Remove
// removes it.
func Unmount(target string) error {
	for {
		mounted, err := isMounted(target)
		if err != nil || !mounted {
			return err
		}
		switch err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); {
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("cannot unmount %q: %w: %w; end the processes that use it", target, ErrBusy, err)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil // somebody else was quicker
		case err != nil:
			return &os.PathError{Op: "unmount", Path: target, Err: err}
		}
	}
}

// isMounted tells whether target itself is where something is mounted
// (statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8).
func isMounted(target string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if errors.Is(err, unix.ENOTCONN) {
		return true, nil // fuse-overlayfs was killed
	}
	if err != nil {
		return false, &os.PathError{Op: "statx", Path: target, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Remove is Unmount of target, then the removal of target, upper and work ("" for
// none), following no link. It is idempotent.
func Remove(target, upper, work string) error {
	if err := Unmount(target); err != nil {
		return err
	}
	var errs []error
	for _, path := range []string{target, work, upper} {
		if path == "" {
			continue
		}
		// Nothing may be mounted below: a bind mount would be emptied.
		errs = append(errs, removeBelow(path))
	}
	return errors.Join(errs...)
}

// removeBelow removes the tree at path. A directory that something is mounted on
// is not entered, and ends it.
func removeBelow(path string) error {
	err := filepath.WalkDir(path, func(below string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // the removal tells
		}
		if mounted, err := isMounted(below); err != nil || mounted {
			return errors.Join(err, fmt.Errorf("cannot remove %q: %w: something is mounted at %q; unmount it", path, ErrBusy, below))
		}
		// overlayfs makes work/work with mode 000, which stops users without rights.
		return os.Chmod(below, 0o700)
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}
