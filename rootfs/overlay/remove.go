package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

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
		err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EPERM) {
			err = unmountFuse(target, err)
		}
		switch {
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("cannot unmount %q: %w: %w; end the processes that use it", target, ErrBusy, err)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil // somebody else was quicker
		case err != nil:
			return &os.PathError{Op: "unmount", Path: target, Err: err}
		}
	}
}

// unmountPrograms are set-user-ID root and take off what their caller mounted by
// them, of libfuse 3 and 2.
var unmountPrograms = []string{"fusermount3", "fusermount"}

// unmountFuse takes off what an ordinary user had fuse-overlayfs mount, for whom
// umount(2) failed with refused. It returns that error where it cannot.
func unmountFuse(target string, refused error) error {
	if kind, err := filesystem(target); err != nil || kind != "fuse" {
		return refused
	}
	for _, program := range unmountPrograms {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		output, err := exec.Command(path, "-u", "--", target).CombinedOutput()
		if err == nil {
			return nil
		}
		if bytes.Contains(output, []byte("busy")) {
			return unix.EBUSY
		}
		return fmt.Errorf("%w: %s: %w: %s", refused, program, err, bytes.TrimSpace(output))
	}
	return fmt.Errorf("%w; install fuse3, whose fusermount3 unmounts for ordinary users", refused)
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
