package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var (
	//go:embed image/base.sh
	baseScript string
	//go:embed image/image.sh
	imageScript string
)

// cache is the directory that keeps images:
//
//	base-HASH/base.tar                        debootstrap's result
//	HASH/{vmlinuz,initrd,root.img,manifest}   an image of one flavour
//	HASH/accelerator.json                     what was found out about KVM
//	tmp/                                      of running harnesses; see scratch
//	lock                                      held while building
//
// A directory with a hash is complete: it was renamed to that name when it
// was finished. Several harnesses may use one cache at once.
type cache struct {
	dir string
}

// openCache returns the cache in $SANDBOXRUN_CACHE, or else in .cache at the
// root of the repository that has the working directory.
func openCache() (cache, error) {
	root := os.Getenv("SANDBOXRUN_CACHE")
	if root == "" {
		repo, err := repositoryRoot()
		if err != nil {
			return cache{}, err
		}
		root = filepath.Join(repo, ".cache")
	}
	dir, err := filepath.Abs(filepath.Join(root, "vm"))
	if err != nil {
		return cache{}, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return cache{}, fmt.Errorf("make cache: %w", err)
	}
	return cache{dir: dir}, nil
}

// repositoryRoot returns the nearest directory at or above the working
// directory that has a go.mod.
func repositoryRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("cannot find the repository: no go.mod at or above %q; run inside it or set SANDBOXRUN_CACHE", start)
		}
	}
}

// baseHash names the base layer by what it is made of. Mirrors are not part
// of it: they all have the same packages.
func baseHash() string {
	return contentHash(suite, baseScript)
}

// contentHash returns 16 hex digits of a hash that tells ("ab", "c") from
// ("a", "bc").
func contentHash(inputs ...string) string {
	hash := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(hash, "%d\n%s", len(input), input)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// lock waits for the right to build; the lock ends with the returned file,
// and with the process.
func (c cache) lock() (*os.File, error) {
	return lockFile(filepath.Join(c.dir, "lock"))
}

func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := flock(file, unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return file, nil
}

func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// scratch is a directory for the time of one harness. It is locked while that
// lives: an unlocked one was left by a harness that got SIGKILL.
type scratch struct {
	dir  string
	held *os.File
}

// newScratch makes a directory after removing those of dead harnesses.
func (c cache) newScratch() (scratch, error) {
	// Between making a directory and locking it another harness would take it
	// for a leftover.
	lock, err := lockFile(filepath.Join(c.dir, "tmp.lock"))
	if err != nil {
		return scratch{}, err
	}
	defer lock.Close()
	if err := c.removeLeftovers(); err != nil {
		return scratch{}, err
	}
	dir, err := os.MkdirTemp(filepath.Join(c.dir, "tmp"), "")
	if err != nil {
		return scratch{}, fmt.Errorf("make scratch directory: %w", err)
	}
	held, err := os.Open(dir)
	if err == nil {
		err = flock(held, unix.LOCK_EX)
	}
	if err != nil {
		return scratch{}, errors.Join(fmt.Errorf("lock scratch directory: %w", err), os.RemoveAll(dir))
	}
	return scratch{dir: dir, held: held}, nil
}

// removeLeftovers removes the directories whose harness is dead. They hold no
// mounts: builds mount in namespaces that ended with the harness.
func (c cache) removeLeftovers() error {
	entries, err := os.ReadDir(filepath.Join(c.dir, "tmp"))
	if err != nil {
		return fmt.Errorf("list scratch directories: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(c.dir, "tmp", entry.Name())
		held, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open scratch directory: %w", err)
		}
		if flock(held, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.RemoveAll(path)
		}
		held.Close()
		if err != nil {
			return fmt.Errorf("remove leftover: %w", err)
		}
	}
	return nil
}

// remove deletes the directory; a second call does nothing.
func (s scratch) remove() error {
	err := os.RemoveAll(s.dir)
	s.held.Close()
	return err
}
