package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/service"
)

// makeDir makes a directory with exactly this mode, whatever the umask.
func makeDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func makeDirOnce(path string, mode fs.FileMode) error {
	if err := makeDir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// writeNew writes a file in a directory that nobody knows yet, with exactly this
// mode.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// copyDirMode gives the directory to the mode and owner of from.
func copyDirMode(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("look at layer: %w", err)
	}
	if stat := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 {
		if err := os.Lchown(to, int(stat.Uid), int(stat.Gid)); err != nil {
			return fmt.Errorf("give the root directory its owner: %w", err)
		}
	}
	if err := os.Chmod(to, info.Mode()&(fs.ModePerm|fs.ModeSticky|fs.ModeSetgid|fs.ModeSetuid)); err != nil {
		return fmt.Errorf("give the root directory its mode: %w", err)
	}
	return nil
}

// writeFiles puts a service's files into the layer dir. The directories above them
// are as the layers below have them; where those have none they are root's, 0755. A
// link in the place of a directory is not followed: the files are where the
// service says, in a directory that hides the link. What is hidden by a whiteout
// stays hidden but for the file.
func writeFiles(dir string, below []string, files []service.File) error {
	layer, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open layer of files: %w", err)
	}
	defer layer.Close()
	for _, f := range files {
		if err := writeFile(layer, below, f); err != nil {
			return fmt.Errorf("cannot put %s into the root filesystem: %w", f.Target, err)
		}
	}
	return nil
}

func writeFile(layer *os.Root, below []string, f service.File) error {
	target := strings.TrimPrefix(path.Clean(f.Target), "/")
	if err := makeParents(layer, below, path.Dir(target)); err != nil {
		return err
	}
	if _, err := removeWhiteout(layer, target); err != nil {
		return err
	}
	if f.Directory {
		return putDirectory(layer, target, f)
	}
	if f.Path == "" {
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		return putFile(layer, target, strings.NewReader(f.Content), f.UID, f.GID, mode)
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		from, err := os.OpenRoot(f.Path)
		if err != nil {
			return err
		}
		defer from.Close()
		if target == "" {
			target = "."
		}
		return copyTree(from, layer, ".", target, func(fs.FileInfo) (int, int) { return f.UID, f.GID })
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file or directory", f.Path)
	}
	mode := f.Mode
	if mode == 0 {
		mode = info.Mode().Perm()
	}
	source, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer source.Close()
	return putFile(layer, target, source, f.UID, f.GID, mode)
}

// putDirectory makes a directory, or gives one that is there owner and mode.
func putDirectory(layer *os.Root, target string, f service.File) error {
	mode := f.Mode
	if mode == 0 {
		mode = 0o755
	}
	if err := layer.Mkdir(target, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return own(layer, target, f.UID, f.GID, mode)
}

// makeParents makes the directories above a file, like those of the layers below.
func makeParents(layer *os.Root, below []string, dir string) error {
	if dir == "." || dir == "/" {
		return nil
	}
	if info, err := layer.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := makeParents(layer, below, path.Dir(dir)); err != nil {
		return err
	}
	hidden, err := removeWhiteout(layer, dir)
	if err != nil {
		return err
	}
	if err := layer.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if hidden {
		return makeOpaque(layer, dir)
	}
	mode, uid, gid := fs.FileMode(0o755), 0, 0
	for i := len(below) - 1; i >= 0; i-- {
		// Lstat of the joined path could follow a link in the middle; os.Root
		// stays below the layer and a mode is all that is taken.
		if info, ok := lookBelow(below[i], dir); ok {
			stat := info.Sys().(*syscall.Stat_t)
			mode, uid, gid = info.Mode()&(fs.ModePerm|fs.ModeSticky), int(stat.Uid), int(stat.Gid)
			break
		}
	}
	return own(layer, dir, uid, gid, mode)
}

// removeWhiteout removes what hides name in the layer (a character device 0:0,
// overlayfs.rst, "whiteouts and opaque directories"), if it is hidden.
func removeWhiteout(layer *os.Root, name string) (bool, error) {
	info, err := layer.Lstat(name)
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false, nil //nolint:nilerr // what is not there hides nothing
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Rdev != 0 {
		return false, nil
	}
	return true, layer.Remove(name)
}

// makeOpaque keeps what the layers below have in a directory hidden.
func makeOpaque(layer *os.Root, name string) error {
	dir, err := layer.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Fsetxattr(int(dir.Fd()), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return &os.PathError{Op: "setxattr", Path: name, Err: err}
	}
	return nil
}

func lookBelow(dir, name string) (fs.FileInfo, bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false
	}
	defer root.Close()
	info, err := root.Lstat(name)
	return info, err == nil && info.IsDir()
}

// own sets owner and mode of something that is no link. Rootless, everything is
// the caller's.
func own(root *os.Root, name string, uid, gid int, mode fs.FileMode) error {
	if os.Geteuid() == 0 {
		if err := root.Lchown(name, uid, gid); err != nil {
			return err
		}
	}
	return root.Chmod(name, mode)
}

func putFile(root *os.Root, name string, from io.Reader, uid, gid int, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(uid, gid)
	}
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// copyTree copies directories, regular files and links from from/source to
// to/target; other kinds of files are left out. owner gives a copy's owner. Neither side
// is left by a link.
func copyTree(from, to *os.Root, source, target string, owner func(fs.FileInfo) (uid, gid int)) error {
	info, err := from.Lstat(source)
	if err != nil {
		return err
	}
	uid, gid := owner(info)
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := to.Mkdir(target, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		dir, err := from.Open(source)
		if err != nil {
			return err
		}
		names, err := dir.Readdirnames(-1)
		dir.Close()
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := copyTree(from, to, path.Join(source, name), path.Join(target, name), owner); err != nil {
				return err
			}
		}
		if err := own(to, target, uid, gid, mode&(fs.ModePerm|fs.ModeSticky|fs.ModeSetgid)); err != nil {
			return err
		}
		return to.Chtimes(target, info.ModTime(), info.ModTime())
	case mode.IsRegular():
		f, err := from.OpenFile(source, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := putFile(to, target, f, uid, gid, mode&(fs.ModePerm|fs.ModeSticky|fs.ModeSetuid|fs.ModeSetgid)); err != nil {
			return err
		}
		return to.Chtimes(target, info.ModTime(), info.ModTime())
	case mode&fs.ModeSymlink != 0:
		link, err := from.Readlink(source)
		if err != nil {
			return err
		}
		if err := to.Symlink(link, target); err != nil || os.Geteuid() != 0 {
			return err
		}
		return to.Lchown(target, uid, gid)
	}
	return nil
}

// makeVolume makes a volume's directory dir, with what the root filesystem has at
// its target.
func makeVolume(rootfs, dir string, v service.BundleVolume) error {
	if err := makeDir(dir, 0o755); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	if v.NoCopy {
		return nil
	}
	if err := FillVolume(rootfs, dir, v.Target); err != nil {
		return fmt.Errorf("fill volume of %s: %w", v.Target, err)
	}
	return nil
}

// FillVolume copies what a root filesystem has at target into the directory dir,
// which gets the owner and mode of target's; a target that is no directory there
// gives nothing. The root filesystem is hostile.
func FillVolume(rootfs, dir, target string) error {
	root, err := os.OpenFile(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	// Links of the image are followed as in a chroot.
	handle, err := pathrs.OpenatInRoot(root, target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil || !info.IsDir() {
		return err
	}
	from, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	return copyTree(from, to, ".", ".", func(info fs.FileInfo) (int, int) {
		stat := info.Sys().(*syscall.Stat_t)
		return int(stat.Uid), int(stat.Gid)
	})
}

// checkSources refuses binds of what is not there, which a start would tell late.
func checkSources(spec *specs.Spec) error {
	for i, m := range spec.Mounts {
		if m.Type != "bind" || !filepath.IsAbs(m.Source) {
			continue
		}
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("cannot build bundle: mounts[%d]: %w; make it, or correct the service's volumes", i, err)
		}
	}
	return nil
}
