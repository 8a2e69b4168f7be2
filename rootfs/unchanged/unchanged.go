package unchanged

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

const (
	recordVersion = 1
	recordsDir    = "sources"
	// maxEntries bounds the files that are looked at: more take as long as to read them.
	maxEntries = 200_000
	// maxRecords bounds the memory: those that were not written for the longest time go.
	maxRecords = 256
	// settled is how long ago the newest change has to be. It is above the resolution of
	// every filesystem's times.
	settled = 2 * time.Second
)

// ErrTooMany says that there are more files than are looked at.
var ErrTooMany = errors.New("too many files")

// State is what files were like at a time. Equal Sums mean the same files.
type State struct {
	Sum string
	// Newest is the last change of any of them, Taken when they were looked at.
	Newest, Taken time.Time
}

// Look looks at paths, absolute, and all below them, by lstat(2). Only a path itself
// may be a link. One that is not there is part of the State. The error wraps
// ErrTooMany, or is ctx's cause or an errno.
func Look(ctx context.Context, paths ...string) (State, error) {
	l := look{sum: sha256.New(), taken: time.Now()}
	for _, path := range paths {
		if err := l.below(ctx, path); err != nil {
			return State{}, fmt.Errorf("look at %s: %w", path, err)
		}
	}
	return State{Sum: hex.EncodeToString(l.sum.Sum(nil)), Newest: l.newest, Taken: l.taken}, nil
}

type look struct {
	sum           hash.Hash
	entries       int
	newest, taken time.Time
}

func (l *look) below(ctx context.Context, path string) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		l.text("absent " + path)
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(real, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if l.entries++; l.entries > maxEntries {
			return ErrTooMany
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		l.text(path)
		return l.file(info)
	})
}

// text adds a text whose end is known.
func (l *look) text(text string) {
	l.number(uint64(len(text)))
	l.sum.Write([]byte(text))
}

func (l *look) number(n uint64) {
	var data [8]byte
	binary.LittleEndian.PutUint64(data[:], n)
	l.sum.Write(data[:])
}

func (l *look) file(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.ErrUnsupported
	}
	for _, n := range []uint64{
		st.Dev, st.Ino, uint64(st.Mode), uint64(st.Uid), uint64(st.Gid), st.Rdev, uint64(st.Size),
		uint64(st.Mtim.Nano()), uint64(st.Ctim.Nano()),
	} {
		l.number(n)
	}
	if changed := time.Unix(0, st.Ctim.Nano()); changed.After(l.newest) {
		l.newest = changed
	}
	return nil
}

// Memory is what is known below one data root. It is safe for concurrent use, by
// several processes as well.
type Memory struct{ dir string }

// In returns the memory below dataRoot.
func In(dataRoot string) Memory { return Memory{filepath.Join(dataRoot, recordsDir)} }

// record is a file of the memory.
type record struct {
	Version int             `json:"version"`
	Key     string          `json:"key"`
	Sum     string          `json:"sum"`
	Digest  manifest.Digest `json:"digest"`
}

func (m Memory) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(m.dir, hex.EncodeToString(sum[:])+".json")
}

// Recall returns the manifest's digest of the image that was made for key of files
// in the state s. The store need not have it any longer.
func (m Memory) Recall(key string, s State) (manifest.Digest, bool) {
	data, err := os.ReadFile(m.path(key))
	if err != nil {
		return "", false
	}
	var r record
	if json.Unmarshal(data, &r) != nil || r.Version != recordVersion || r.Key != key || r.Sum != s.Sum || s.Sum == "" {
		return "", false
	}
	return r.Digest, true
}

// Remember notes that the image d was made for key of files that were in the state
// before, and in the state after when it was made. What cannot be relied on is not
// noted, which is no error.
func (m Memory) Remember(key string, before, after State, d manifest.Digest) error {
	if before.Sum == "" || before.Sum != after.Sum || before.Taken.Sub(before.Newest) < settled {
		return nil
	}
	data, err := json.Marshal(record{recordVersion, key, before.Sum, d})
	if err != nil {
		return fmt.Errorf("encode record of source: %w", err)
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make directory of sources: %w", err)
	}
	if err := atomicfile.WriteVolatile(m.path(key), data, 0o600); err != nil {
		return fmt.Errorf("write record of source: %w", err)
	}
	return m.forget()
}

// forget removes the oldest records where there are too many.
func (m Memory) forget() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil || len(entries) <= maxRecords {
		return err
	}
	type aged struct {
		name string
		at   time.Time
	}
	var all []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return a.at.Compare(b.at) })
	for _, old := range all[:max(0, len(all)-maxRecords)] {
		if err := os.Remove(filepath.Join(m.dir, old.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
