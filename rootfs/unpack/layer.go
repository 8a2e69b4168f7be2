package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Layer applies the layer that r gives, a tar stream that is plain or compressed
// with gzip or zstd (told by its first bytes), to the existing directory dir. The
// stream is read to its end, so that the result has its digests; the caller
// compares them.
//
// Memory is bounded whatever the layer's size: some 10 MiB, for a zstd window up to
// 64 MiB more, and in the form Applied some 16 bytes for each entry. A second
// goroutine runs until it returns; it ends with r's next read. It is safe for
// concurrent use on different directories.
//
// The error is an *EntryError, a *LimitError, one that wraps ErrCorrupt,
// ErrTruncated or ErrCompression, the error of r or ctx, or an errno of the host
// (ENOSPC, EDQUOT). After one the directory has a part of the layer.
func Layer(ctx context.Context, dir string, r io.Reader, o Options) (Result, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	x := &extractor{
		options: o,
		dirs:    dirs{root: root, open: map[string]*handle{}},
		buffer:  make([]byte, chunkSize),
		times:   timeLog{dir: dir},
		uid:     os.Geteuid(),
		gid:     os.Getegid(),
		umask:   umask(),
	}
	x.dirs.imply = x.implyDirectory
	defer x.dirs.forget()
	defer x.times.close()
	if err := x.learn(root); err != nil {
		return Result{}, &os.PathError{Op: "look at", Path: dir, Err: err}
	}
	s := startStream(ctx, r, o.Limits)
	err = x.archive(s)
	s.finish()
	if err != nil {
		return Result{}, err
	}
	if err := x.settleDirectories(); err != nil {
		return Result{}, err
	}
	result := s.result
	result.Entries = x.entries
	result.Skipped = x.skipped
	result.HidesBelow = x.hidesBelow
	return result, nil
}

// extractor makes the files of one layer.
type extractor struct {
	options Options
	dirs    dirs
	buffer  []byte
	times   timeLog
	modes   map[string]uint32 // of directories that the caller may not use; set last

	uid, gid int
	umask    uint32
	// inherit says that new files may have another group or mode than asked for,
	// so that both are always set: a set-group-ID directory, a default ACL, a
	// mount with grpid, or a tree that was there before.
	inherit bool
	learned bool // inherit was compared with a file made here

	seed maphash.Seed
	made map[uint64]struct{} // Applied: names of this layer, hashed

	entries, bytes, skipped int64
	hidesBelow              bool
}

// learn looks at the tree's top.
func (x *extractor) learn(root int) error {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return err
	}
	x.inherit = st.Mode&unix.S_ISGID != 0
	if x.options.Form == Applied {
		x.inherit = true
		x.seed = maphash.MakeSeed()
		x.made = map[uint64]struct{}{}
	}
	return nil
}

// umask returns the process's umask, or one that makes every mode be set, if the
// kernel does not say (Linux 4.7 does).
func umask() uint32 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, after, found := strings.Cut(string(data), "\nUmask:")
	line, _, _ := strings.Cut(after, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 8, 32)
	if !found || err != nil {
		return 0o777
	}
	return uint32(mask)
}

// archive makes all entries and reads the stream to its end.
func (x *extractor) archive(s *stream) error {
	archive := tar.NewReader(s)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if err := s.drain(); err != nil {
				return err
			}
			return nil
		}
		// tar.ErrInsecurePath comes with a header, under a GODEBUG setting only; the
		// names are checked here in any case.
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return explainArchive(s, err)
		}
		if err := x.entry(header, archive); err != nil {
			var broken *readError
			if errors.As(err, &broken) {
				return explainArchive(s, broken.err)
			}
			return err
		}
	}
}

// readError is a failure of the stream while a file is written, as against one of
// the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// explainArchive says what is wrong with the stream: what the goroutine found, or
// the archive.
func explainArchive(s *stream, err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends within an entry", ErrTruncated)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: it is no tar archive, or a damaged one", ErrCorrupt)
	case errors.Is(err, tar.ErrFieldTooLong):
		return fmt.Errorf("%w: a header is too long", ErrCorrupt)
	}
	return err
}

// entry makes one entry.
func (x *extractor) entry(h *tar.Header, content io.Reader) error {
	x.entries++
	if x.entries > x.options.Limits.Entries {
		return &LimitError{Limit: "Entries", Max: x.options.Limits.Entries, Entry: h.Name}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, reason := cleanName(h.Name, x.options.Limits.Depth)
	if reason == reasonDepth {
		return &LimitError{Limit: "Depth", Max: x.options.Limits.Depth, Entry: h.Name}
	}
	if reason != "" {
		return &EntryError{Name: h.Name, Reason: reason}
	}
	if err := x.count(h); err != nil {
		return err
	}
	parentName, base := split(name)
	kind, deleted := classify(parentName, base)
	switch kind {
	case aufs:
		x.options.Log.Debug("leave out a file of AUFS's own", "entry", h.Name)
		return nil
	case badWhiteout:
		return &EntryError{Name: h.Name, Reason: "it is a whiteout of the directory itself or of the one above"}
	case belowWhiteout:
		return &EntryError{Name: h.Name, Reason: "it is below a whiteout"}
	}
	parent, err := x.dirs.get(parentName)
	if err != nil {
		return x.refuseParent(h.Name, err)
	}
	switch kind {
	case opaque:
		err = x.hideBelow(parent, parentName)
	case deletion:
		err = x.whiteOut(parent, parentName, deleted)
	default:
		err = x.make(h, content, parent, name, base)
	}
	if err != nil {
		return x.explain(h.Name, err)
	}
	return nil
}

// count holds the sizes against the limits. They are those of the files, holes included,
// since it is these that a sandbox's disk and who copies the tree have to bear.
func (x *extractor) count(h *tar.Header) error {
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse && h.Typeflag != tar.TypeCont {
		return nil
	}
	if limit := x.options.Limits.FileBytes; h.Size > limit {
		return &LimitError{Limit: "FileBytes", Max: limit, Entry: h.Name}
	}
	x.bytes += h.Size
	if limit := x.options.Limits.Bytes; x.bytes > limit {
		return &LimitError{Limit: "Bytes", Max: limit, Entry: h.Name}
	}
	return nil
}

// refuseParent says why the directory of an entry cannot be used.
func (x *extractor) refuseParent(name string, err error) error {
	var reason string
	switch {
	case errors.Is(err, unix.EXDEV):
		reason = "its path leads out of the layer by a symbolic link"
	case errors.Is(err, unix.ELOOP):
		reason = "its path goes through symbolic links without end"
	case errors.Is(err, unix.ENOTDIR):
		reason = "its path goes through a file that is no directory"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST):
		reason = "its path goes through a symbolic link to nothing"
	default:
		return x.explain(name, err)
	}
	return &EntryError{Name: name, Reason: reason, err: err}
}

// explain gives errors of the kernel the entry's name. Those of the disk are not
// the entry's fault and keep their errno for the caller, too.
func (x *extractor) explain(name string, err error) error {
	var entry *EntryError
	var limit *LimitError
	var broken *readError
	if errors.As(err, &entry) || errors.As(err, &limit) || errors.As(err, &broken) {
		return err
	}
	reason := err.Error()
	switch {
	case errors.Is(err, unix.ENAMETOOLONG):
		reason = "a component of its name is longer than the filesystem allows"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS), errors.Is(err, unix.EIO):
		return fmt.Errorf("unpack entry %.300q: %w", name, err)
	case errors.Is(err, unix.ENOSYS):
		reason = "openat2(2) is missing; use Linux 5.6 or later, or a seccomp profile that allows it"
	}
	return &EntryError{Name: name, Reason: reason, err: err}
}
