package rootfs

import "errors"

var (
	// ErrNoPath says that the bundle's root.path is empty.
	ErrNoPath = errors.New("root.path is empty")
	// ErrNotExist says that the root filesystem, or a directory above it, does
	// not exist.
	ErrNotExist = errors.New("it does not exist")
	// ErrNotDirectory says that the root filesystem, or something above it, is a
	// file.
	ErrNotDirectory = errors.New("it is not a directory")
	// ErrSymlink says that the last component of root.path is a symbolic link.
	ErrSymlink = errors.New("it is a symbolic link")
)
