package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Resolve returns the absolute path, free of symbolic links, of the root
// filesystem directory that a bundle names. A relative rootPath is meant from
// bundleDir (runtime-spec, config.md, "root"), and an absolute one is taken as it
// is; a relative bundleDir is meant from the working directory. rootPath may
// leave the bundle by "..", as with runc.
//
// Links above the last component are resolved, because libcontainer compares the
// path with its resolved form and refuses any difference ("invalid rootfs: not an
// absolute path, or a symlink", configs/validate/validator.go, rootfs). runc
// resolves those of the bundle's own path by changing into it, so what works there
// works here; an absolute root.path below a link, which runc refuses, works too.
//
// A rootPath whose last component is a link is refused with ErrSymlink as runc
// does: who can change the link would choose what the sandbox's root is between
// the check and the mount, and what is at stake should be visible in config.json.
//
// The error wraps ErrNoPath, ErrNotExist, ErrNotDirectory or ErrSymlink, or the
// errno (fs.ErrPermission among them).
func Resolve(bundleDir, rootPath string) (string, error) {
	if rootPath == "" {
		return "", fmt.Errorf("cannot use root filesystem: %w; name a directory, for example \"rootfs\", in config.json", ErrNoPath)
	}
	path := rootPath
	if !filepath.IsAbs(path) {
		path = filepath.Join(bundleDir, rootPath)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot use root filesystem %q: %w", rootPath, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", explain(path, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return "", explainSymlink(path)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("cannot use root filesystem %q: %w; correct root.path in config.json", path, ErrNotDirectory)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", explain(path, err)
	}
	return resolved, nil
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot use root filesystem %q: %w; create it or correct root.path in config.json", path, ErrNotExist)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("cannot use root filesystem %q: %w; correct root.path in config.json", path, ErrNotDirectory)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot use root filesystem %q: %w; run as a user who may enter it", path, errnoOf(err))
	}
	return fmt.Errorf("cannot use root filesystem %q: %w", path, errnoOf(err))
}

func explainSymlink(path string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("cannot use root filesystem %q: %w to nothing; correct root.path in config.json", path, ErrSymlink)
	}
	return fmt.Errorf("cannot use root filesystem %q: %w; set root.path in config.json to %q", path, ErrSymlink, target)
}

// errnoOf strips the operation and path that the message names already.
func errnoOf(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
