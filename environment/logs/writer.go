package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What is kept of an instance unless Options say otherwise.
const (
	defaultMaxSize  = 16 << 20
	defaultMaxFiles = 4
)

// Options say how a Writer keeps lines.
type Options struct {
	// MaxSize is how large a file gets, in bytes, and MaxFiles how many there are, the
	// newest included. 0 is 16 MiB, and 4.
	MaxSize  int64
	MaxFiles int
	// Discard stores nothing. The Tail is known all the same, and OnLine called.
	Discard bool
	// Redactor may be nil.
	Redactor *Redactor
	// OnLine, if not nil, is called for each line (or piece of one), redacted. It must
	// return at once, must not keep line, and must not call the Writer.
	OnLine func(stream Stream, line []byte)
	// Now is time.Now, or a test's.
	Now func() time.Time
}

// Writer keeps the output of one instance. It is safe for concurrent use.
type Writer struct {
	path string
	o    Options

	mu sync.Mutex
	// guarded by mu:
	file   *os.File // nil until there is something to write
	size   int64
	last   time.Time
	out    []byte // encoded lines on their way to the file
	queued uint64 // how many they are
	tail   tail
	lost   uint64 // lines that no file has
	untold uint64 // those of them of which the file does not say so yet
	cause  error  // why
	stdout stream
	stderr stream
	closed bool
}

// New returns a writer of INSTANCE.log in dir. It touches nothing until there is
// something to write: neither it nor any method fails for want of a place.
func New(dir, instance string, o Options) *Writer {
	if o.MaxSize <= 0 {
		o.MaxSize = defaultMaxSize
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = defaultMaxFiles
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	w := &Writer{path: filepath.Join(dir, instance+suffix), o: o}
	w.stdout = stream{writer: w, name: Stdout}
	w.stderr = stream{writer: w, name: Stderr}
	return w
}

// Stdout and Stderr take what the program prints there. Write never fails.
func (w *Writer) Stdout() io.Writer { return &w.stdout }

// Stderr is Stdout for the other stream.
func (w *Writer) Stderr() io.Writer { return &w.stderr }

// Note keeps a line of ours.
func (w *Writer) Note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.keep(now, Own, []byte(text), false)
	w.flush(now)
}

// Flush ends lines that have no end yet: the program has ended.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushStreams()
}

// Tail returns the last lines, at most n, redacted, the newest last. At most 50 and
// 16 KiB are known; long ones are cut.
func (w *Writer) Tail(n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tail.last(n)
}

// Lost is how many lines were printed and could not be stored.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Close ends unended lines and closes the file. What is written after it is not kept.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.flushStreams()
	w.closed = true
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

func (w *Writer) flushStreams() {
	now := w.now()
	for _, s := range []*stream{&w.stdout, &w.stderr} {
		if len(s.partial) > 0 {
			w.keep(now, s.name, s.partial, false)
			s.partial = nil
		}
	}
	w.flush(now)
}

// now never goes back: readers merge files by time.
func (w *Writer) now() time.Time {
	if now := w.o.Now(); now.After(w.last) {
		w.last = now
	}
	return w.last
}

// keep redacts a line and queues it for the file.
func (w *Writer) keep(now time.Time, name Stream, line []byte, partial bool) {
	if w.closed {
		return
	}
	line = w.o.Redactor.Bytes(line)
	if w.o.OnLine != nil && name != Own {
		w.o.OnLine(name, line)
	}
	w.tail.add(line)
	if w.o.Discard {
		return
	}
	w.out = appendEntry(w.out, Entry{Time: now, Stream: name, Line: line, Partial: partial})
	w.queued++
	if len(w.out) >= MaxLine {
		w.flush(now)
	}
}

// flush writes what is queued. What cannot be written is lost, and counted.
func (w *Writer) flush(now time.Time) {
	if len(w.out) == 0 {
		return
	}
	if err := w.write(now); err != nil {
		w.lost += w.queued
		w.untold += w.queued
		w.cause = err
	} else {
		w.untold = 0
	}
	w.queued = 0
	w.out = w.out[:0]
	if cap(w.out) > 8<<10 {
		w.out = nil // one loud moment must not cost its memory for good
	}
}

func (w *Writer) write(now time.Time) error {
	if err := w.open(); err != nil {
		return err
	}
	out := w.out
	if w.untold > 0 {
		notice := fmt.Sprintf("%d lines were lost: %v", w.untold, errno(w.cause))
		out = append(appendEntry(nil, Entry{Time: now, Stream: Own, Line: []byte(notice)}), out...)
	}
	if w.size > 0 && w.size+int64(len(out)) > w.o.MaxSize {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	n, err := w.file.Write(out)
	if err == nil {
		w.size += int64(n)
		return nil
	}
	if n > 0 {
		// Half a line would spoil the next one.
		if truncateErr := w.file.Truncate(w.size); truncateErr != nil {
			w.size += int64(n)
			return errors.Join(err, truncateErr)
		}
	}
	return err
}

// errno is what a reader of the log needs to know of an error.
func errno(err error) error {
	var number unix.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

func (w *Writer) open() error {
	if w.file != nil {
		return nil
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW
	file, err := os.OpenFile(w.path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(w.path), 0o700); err != nil {
			return err
		}
		file, err = os.OpenFile(w.path, flags, 0o600)
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	w.file, w.size = file, info.Size()
	return nil
}

// rotate renames .log to .log.1, .log.1 to .log.2, …, the oldest over the one that is
// to go, and opens a new .log.
func (w *Writer) rotate() error {
	if err := w.file.Close(); err != nil {
		return err
	}
	w.file = nil
	if w.o.MaxFiles == 1 {
		if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return w.open()
	}
	for n := w.o.MaxFiles - 1; n > 0; n-- {
		err := os.Rename(rotated(w.path, n-1), rotated(w.path, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return w.open()
}

// rotated is the path of the nth older file, path itself for 0.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// stream cuts what is written to it into lines.
type stream struct {
	writer *Writer
	name   Stream
	// partial is a line that has no end yet; guarded by writer.mu.
	partial []byte
}

func (s *stream) Write(p []byte) (int, error) {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i >= 0 && len(s.partial) == 0 && i <= MaxLine {
			w.keep(now, s.name, rest[:i], false) // the usual case needs no copy
			rest = rest[i+1:]
			continue
		}
		if i < 0 {
			i = len(rest)
		}
		n := min(i, MaxLine-len(s.partial))
		s.partial = append(s.partial, rest[:n]...)
		rest = rest[n:]
		switch {
		case len(rest) > 0 && rest[0] == '\n':
			w.keep(now, s.name, s.partial, false)
			s.partial = s.partial[:0]
			rest = rest[1:]
		case len(s.partial) == MaxLine:
			s.cut(now)
		}
	}
	w.flush(now)
	if len(s.partial) == 0 {
		s.partial = nil
	}
	return len(p), nil
}

// cut keeps a piece of a line that is too long. A secret that would be parted goes with
// the next piece.
func (s *stream) cut(now time.Time) {
	n := s.writer.o.Redactor.cut(s.partial)
	s.writer.keep(now, s.name, s.partial[:n], true)
	s.partial = append(s.partial[:0], s.partial[n:]...)
}

// ReadFrom is io.Copy's way in, with a smaller buffer than its own, and a tiny one
// until much comes at once: an environment may have a hundred of these, and most
// programs say little.
func (s *stream) ReadFrom(r io.Reader) (total int64, _ error) {
	const little, much = 512, 8 << 10
	buf := make([]byte, little)
	for {
		n, err := r.Read(buf)
		total += int64(n)
		if n > 0 {
			_, _ = s.Write(buf[:n]) // never fails
		}
		if n == little && len(buf) == little {
			buf = make([]byte, much)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
