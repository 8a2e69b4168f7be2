package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"golang.org/x/sys/unix"
)

// version of every file of the store.
const version = 1

// The store's directories, relative to the data root.
const (
	blobsDir   = "blobs/sha256"
	partialDir = "partial"
	layersDir  = "layers"
	imagesDir  = "images"
	leasesDir  = "leases"
	tmpDir     = "tmp"
	locksDir   = "locks"
	storeFile  = "store.json"
)

// Store is an open store. It has no state but its path, holds no descriptor and
// is safe for concurrent use, by several processes as well.
type Store struct {
	root string
}

// DefaultRoot returns the data root of the calling user: /var/lib/sandboxrun for
// root, else $XDG_DATA_HOME/sandboxrun or ~/.local/share/sandboxrun. getenv is
// os.Getenv.
func DefaultRoot(getenv func(string) string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/sandboxrun", nil
	}
	if data := getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "sandboxrun"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "sandboxrun"), nil
	}
	return "", errors.New("cannot find a data root: neither XDG_DATA_HOME nor HOME is an absolute path; name one by --data-root")
}

// Open returns the store below dataRoot, an absolute path, and makes what is
// missing of it (0700). The error wraps ErrNewer, ErrCorrupt or an errno.
func Open(dataRoot string) (*Store, error) {
	if !filepath.IsAbs(dataRoot) {
		return nil, fmt.Errorf("cannot open store %q: the data root is no absolute path", dataRoot)
	}
	s := &Store{root: filepath.Clean(dataRoot)}
	if err := s.check(); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	for _, dir := range []string{"", "blobs", blobsDir, partialDir, layersDir, imagesDir, leasesDir, tmpDir, locksDir} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return nil, fmt.Errorf("make store: %w", err)
		}
	}
	err := atomicfile.WriteNew(s.path(storeFile), fmt.Appendf(nil, "{\"version\":%d}\n", version), 0o600)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make store: %w", err)
	}
	return s, s.check()
}

// check looks at the data root's rights and the store's version.
func (s *Store) check() error {
	var st unix.Stat_t
	if err := unix.Lstat(s.root, &st); err != nil {
		return &fs.PathError{Op: "open store", Path: s.root, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("cannot open store %q: %w: it is no directory", s.root, ErrCorrupt)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("cannot open store %q: it belongs to user %d; name another by --data-root", s.root, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("cannot open store %q: others may write to it; run chmod 700 on it", s.root)
	}
	var record struct {
		Version int `json:"version"`
	}
	return readRecord(s.path(storeFile), &record, func() int { return record.Version })
}

// Root returns the data root.
func (s *Store) Root() string { return s.root }

func (s *Store) path(elements ...string) string {
	return filepath.Join(append([]string{s.root}, elements...)...)
}

// maxRecord bounds the files of the store that are JSON, in bytes.
const maxRecord = 1 << 20

// readRecord reads a JSON file of the store into record, whose version is told by
// got. The error wraps fs.ErrNotExist, ErrCorrupt or ErrNewer.
func readRecord(path string, record any, got func() int) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return fmt.Errorf("%w: %s is no record", ErrCorrupt, path)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return err
	}
	if err := decodeRecord(data, record, got); err != nil {
		return fmt.Errorf("%w: %s", err, path)
	}
	return nil
}

func decodeRecord(data []byte, record any, got func() int) error {
	err := json.Unmarshal(data, record)
	// The version first: a later one may have fields of another type.
	var probe struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(data, &probe) == nil && probe.Version > version {
		return fmt.Errorf("%w: version %d of it is above %d; use that sandboxrun, or another data root", ErrNewer, probe.Version, version)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if got() != version {
		return fmt.Errorf("%w: it has version %d", ErrCorrupt, got())
	}
	return nil
}

// writeRecord saves a record. durable: it must outlive a power cut once it is
// reported.
func writeRecord(path string, record any, durable bool) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	write := atomicfile.WriteVolatile
	if durable {
		write = atomicfile.WriteFile
	}
	return write(path, append(data, '\n'), 0o600)
}

// bootID tells one boot of the machine from another; empty where the kernel does
// not say, and nothing unsettled is trusted then.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Writer is the right to add to the store: while it is held nothing that was
// added is pruned, referenced or not. It ends with the process, however that
// ends.
type Writer struct{ file *os.File }

// Write takes the right to add, beside any number of others; it waits for a Prune
// or Fsck until ctx ends (ErrBusy). A caller holds it from its first look at what
// is there until the reference or lease that keeps it is made.
//
// The first of several writers removes what killed ones left in tmp/.
func (s *Store) Write(ctx context.Context) (*Writer, error) {
	file, err := s.openWriters()
	if err != nil {
		return nil, err
	}
	if err := flock(file, unix.LOCK_EX|unix.LOCK_NB); err == nil {
		s.sweep()
		// Not atomic: a Prune may come in between, and finds nothing of this writer
		// yet.
	}
	if err := lock(ctx, file, unix.LOCK_SH); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot add to the store: %w: image prune or fsck runs; try again when it is done", err)
	}
	return &Writer{file}, nil
}

// Close gives the right up.
func (w *Writer) Close() error { return w.file.Close() }

// alone takes the right to remove.
func (s *Store) alone(ctx context.Context) (*Writer, error) {
	file, err := s.openWriters()
	if err != nil {
		return nil, err
	}
	if err := lock(ctx, file, unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot change the store: %w: images are being pulled or bundles built; try again when they are done", err)
	}
	return &Writer{file}, nil
}

func (s *Store) openWriters() (*os.File, error) {
	file, err := os.OpenFile(s.path(locksDir, "writers"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	return file, nil
}

// lockPoll is how often a held lock is tried again: flock(2) cannot wait with a
// deadline.
const lockPoll = 10 * time.Millisecond

// lock takes the lock or returns an error that wraps ErrBusy and the context's.
func lock(ctx context.Context, file *os.File, how int) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := flock(file, how|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
		}
	}
}

func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// sweep removes all of tmp/, which nobody uses: the caller is alone. What cannot be removed
// is told by Fsck.
func (s *Store) sweep() Count {
	var swept Count
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return swept
	}
	for _, entry := range entries {
		path := s.path(tmpDir, entry.Name())
		size := diskUsage(path)
		if removeTree(path) == nil {
			swept.add(size)
		}
	}
	return swept
}

// removeTree removes path with all below it, following no link. A directory that
// is closed to its owner is opened first, for users without rights.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	if walkErr != nil {
		return walkErr
	}
	return os.RemoveAll(path)
}
