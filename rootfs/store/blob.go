package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"golang.org/x/sys/unix"
)

func (s *Store) blobPath(d manifest.Digest) string { return s.path(blobsDir, d.Hex()) }

// HasBlob tells whether the blob is there.
func (s *Store) HasBlob(d manifest.Digest) bool {
	_, err := os.Lstat(s.blobPath(d))
	return err == nil && d != ""
}

// Blob opens a blob for reading; it was verified when it came in. The error wraps
// ErrNotFound.
func (s *Store) Blob(d manifest.Digest) (*os.File, error) {
	if _, err := manifest.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.blobPath(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is %w", d, ErrNotFound)
	}
	return f, err
}

// ReadBlob returns a small blob (up to manifest.MaxDocument bytes), verified
// again.
func (s *Store) ReadBlob(d manifest.Digest) ([]byte, error) {
	f, err := s.Blob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, manifest.MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if len(data) > manifest.MaxDocument {
		return nil, fmt.Errorf("read blob %s: it is above %d bytes", d, manifest.MaxDocument)
	}
	if got := manifest.DigestOf(data); got != d {
		return nil, fmt.Errorf("%w: blob %s has the content of %s; run image fsck --repair", ErrCorrupt, d, got)
	}
	return data, nil
}

// AddBlob stores what r gives under its digest d; size is in bytes, -1 for
// unknown. Content that is not d is not kept (ErrDigest). A blob that is there
// already leaves r unread.
func (s *Store) AddBlob(ctx context.Context, d manifest.Digest, size int64, r io.Reader) (retErr error) {
	if _, err := manifest.ParseDigest(string(d)); err != nil {
		return err
	}
	if s.HasBlob(d) {
		return nil
	}
	f, err := os.CreateTemp(s.path(tmpDir), "blob-")
	if err != nil {
		return fmt.Errorf("add blob %s: %w", d, err)
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, f.Close(), os.Remove(f.Name()))
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), &untilDone{ctx, r})
	if err != nil {
		return fmt.Errorf("add blob %s: %w", d, err)
	}
	if err := compare(d, size, n, h); err != nil {
		return err
	}
	return s.nameBlob(f, d)
}

// untilDone ends a reader with its context.
type untilDone struct {
	ctx context.Context // lives as long as the one call that reads
	r   io.Reader
}

func (u *untilDone) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(b)
}

func compare(d manifest.Digest, size, n int64, h hash.Hash) error {
	if size >= 0 && n != size {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrDigest, d, n, size)
	}
	if got := manifest.FromSum(h.Sum(nil)); got != d {
		return fmt.Errorf("%w: what came as %s is %s", ErrDigest, d, got)
	}
	return nil
}

// nameBlob makes f, complete and verified, the blob d, and closes it. Blobs are
// fsynced: they are what a layer is made of again after a power cut, and nobody
// verifies them at every use.
func (s *Store) nameBlob(f *os.File, d manifest.Digest) error {
	if err := f.Chmod(0o400); err != nil {
		return fmt.Errorf("add blob %s: %w", d, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("add blob %s: %w", d, err)
	}
	if err := os.Rename(f.Name(), s.blobPath(d)); err != nil {
		return fmt.Errorf("add blob %s: %w", d, err)
	}
	return f.Close()
}

// Partial is a blob in the course of its download. It is not safe for concurrent
// use.
type Partial struct {
	store  *Store
	digest manifest.Digest
	size   int64
	file   *os.File
	lock   *lockfile.Lock
	hash   hash.Hash
	offset int64
}

// Partial opens the download of blob d of size bytes where a former one ended, at
// Offset. It waits until ctx ends for another process that downloads the same
// blob, and then returns fs.ErrExist if that has brought it.
func (s *Store) Partial(ctx context.Context, d manifest.Digest, size int64) (retPartial *Partial, retErr error) {
	if _, err := manifest.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	lock, err := lockfile.Acquire(ctx, s.path(locksDir, "partial-"+d.Hex()))
	if err != nil {
		return nil, fmt.Errorf("wait for the download of %s: %w", d, err)
	}
	defer func() {
		if retErr != nil {
			_ = lock.Remove() // the first error tells
		}
	}()
	if s.HasBlob(d) {
		return nil, fmt.Errorf("download %s: %w", d, fs.ErrExist)
	}
	f, err := os.OpenFile(s.path(partialDir, d.Hex()), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", d, err)
	}
	p := &Partial{store: s, digest: d, size: size, file: f, lock: lock, hash: sha256.New()}
	// What is there is hashed now, so that Commit need not read all again.
	if p.offset, err = io.Copy(p.hash, f); err == nil && p.offset > size {
		err = p.Restart()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("download %s: %w", d, err)
	}
	return p, nil
}

// Offset is how many bytes are there.
func (p *Partial) Offset() int64 { return p.offset }

// Write appends. More than the blob's size is ErrDigest.
func (p *Partial) Write(b []byte) (int, error) {
	if p.offset+int64(len(b)) > p.size {
		return 0, fmt.Errorf("%w: %s is longer than %d bytes", ErrDigest, p.digest, p.size)
	}
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.offset += int64(n)
	return n, err
}

// Restart forgets all bytes.
func (p *Partial) Restart() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.hash.Reset()
	p.offset = 0
	return nil
}

// Commit verifies the content and gives it its name. What is not the blob is
// forgotten (ErrDigest). Close is still to be called.
func (p *Partial) Commit() error {
	if err := compare(p.digest, p.size, p.offset, p.hash); err != nil {
		return errors.Join(err, p.Restart())
	}
	return p.store.nameBlob(p.file, p.digest)
}

// Close ends the download and leaves what there is for the next one.
func (p *Partial) Close() error {
	err := p.file.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil // Commit did
	}
	return errors.Join(err, p.lock.Remove())
}

// Scratch returns a file on the store's filesystem that has no name: what is
// written to it is gone when it is closed.
func (s *Store) Scratch() (*os.File, error) {
	f, err := os.CreateTemp(s.path(tmpDir), "scratch-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
