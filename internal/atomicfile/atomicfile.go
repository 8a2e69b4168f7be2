package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile replaces the file at path with data. The file has exactly the
// permission bits perm afterwards, whatever the umask. A symbolic link at path is
// replaced, not followed.
//
// On failure the former file is untouched and no temporary file is left. The
// error keeps the errno (errors.Is(err, unix.ENOSPC) on a full disk). One
// exception: when only the last step fails, the fsync of the directory, the new
// content is already in place but may not survive a power cut.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, os.Rename, durable)
}

// WriteVolatile is WriteFile without fsync, for files that mean nothing after a
// power cut, such as the state of processes. Readers never see a part of it.
func WriteVolatile(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, os.Rename, volatile)
}

// WriteNew is WriteFile for a path that must not exist yet: a file, directory or
// symbolic link (also a dangling one) at path is left alone and the error is
// fs.ErrExist. Of several concurrent callers exactly one succeeds.
func WriteNew(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, renameNew, durable)
}

type durability bool

const (
	durable  durability = true
	volatile durability = false
)

func write(path string, data []byte, perm fs.FileMode, rename func(from, to string) error, sync durability) (retErr error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	temp, err := os.CreateTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			// The first error is the one that tells what went wrong; that the
			// descriptor may be closed and the name renamed already is no news.
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Chmod(perm); err != nil {
		return err
	}
	// Before the rename: some file systems order a rename before the data it
	// names, and a crash in between would leave an empty file at path.
	if sync == durable {
		if err := temp.Sync(); err != nil {
			return err
		}
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := rename(temp.Name(), path); err != nil {
		return err
	}
	if sync == volatile {
		return nil
	}
	return syncDirectory(dir)
}

// renameNew moves from to to unless to exists (renameat2(2), RENAME_NOREPLACE).
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// NFS, 9p and some FUSE file systems have no RENAME_NOREPLACE. A hard
		// link refuses an existing name just as atomically.
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	}
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
	}
	return nil
}

// syncDirectory makes a rename in dir durable.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("make the new name durable: %w", err)
	}
	return nil
}
