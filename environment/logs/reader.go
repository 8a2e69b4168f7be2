package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const suffix = ".log"

// Query says which lines Read shows.
type Query struct {
	// Instances are names; none means all that there are.
	Instances []string
	// Since and Until bound the time of a line, both inclusive; zero is no bound.
	Since, Until time.Time
	// Tail is how many of the last lines of each instance are shown; negative for all. It
	// counts before Since and Until do.
	Tail int
	// Follow goes on with lines as they come, and with instances that appear, until ctx
	// ends or Ended is closed; what is there by then is shown. The directory has to be there.
	Follow bool
	Ended  <-chan struct{}
}

// Read shows the lines of the log files in dir, those of several instances in the
// order of their times. An instance without a file has no lines. It returns nil when
// ctx ends, and the error of show if that returns one.
func Read(ctx context.Context, dir string, q Query, show func(Entry) error) error {
	r := &reader{dir: dir, query: q, show: show, sources: map[string]*source{}}
	defer r.close()
	if q.Follow {
		return r.follow(ctx)
	}
	if err := r.discover(); err != nil {
		return err
	}
	return r.drain(ctx)
}

// reader merges the sources of one Read.
type reader struct {
	dir     string
	query   Query
	show    func(Entry) error
	sources map[string]*source
}

func (r *reader) close() {
	for _, s := range r.sources {
		s.close()
	}
}

// discover adds a source for each instance that has got a file since.
func (r *reader) discover() error {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	for _, e := range entries {
		instance, isLog := strings.CutSuffix(e.Name(), suffix)
		if !isLog || r.sources[instance] != nil || len(r.query.Instances) > 0 && !slices.Contains(r.query.Instances, instance) {
			continue
		}
		s := &source{instance: instance, path: filepath.Join(r.dir, e.Name())}
		if err := s.begin(r.query.Tail); err != nil {
			return fmt.Errorf("read log of %s: %w", instance, err)
		}
		r.sources[instance] = s
	}
	return nil
}

// drain shows all that the files have by now. Each source is in the order of its
// times, so that the oldest of their next lines is always the next of all.
func (r *reader) drain(ctx context.Context) error {
	var ready []*source
	for _, s := range r.sources {
		if err := r.advance(s); err != nil {
			return err
		}
		if s.next != nil {
			ready = append(ready, s)
		}
	}
	for len(ready) > 0 {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whoever reads logs ends it so
		}
		first := slices.MinFunc(ready, func(a, b *source) int {
			if c := a.next.Time.Compare(b.next.Time); c != 0 {
				return c
			}
			return strings.Compare(a.instance, b.instance)
		})
		if err := r.show(*first.next); err != nil {
			return err
		}
		first.next = nil
		if err := r.advance(first); err != nil {
			return err
		}
		if first.next == nil {
			ready = slices.DeleteFunc(ready, func(s *source) bool { return s == first })
		}
	}
	return nil
}

// advance makes the source's next line one that is to be shown, nil if there is none
// yet.
func (r *reader) advance(s *source) error {
	for s.next == nil {
		line, err := s.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log of %s: %w", s.instance, err)
		}
		e, err := Parse(line)
		if err != nil {
			// As after a power cut. The lines around it are none the worse.
			e = Entry{Time: s.last, Stream: Own, Line: []byte("a line of the log is damaged")}
		}
		s.last = e.Time
		e.Instance = s.instance
		if e.Time.Before(r.query.Since) || !r.query.Until.IsZero() && e.Time.After(r.query.Until) {
			continue
		}
		s.next = &e
	}
	return nil
}

// source reads the files of one instance, oldest first, and goes on in each where it
// ended.
type source struct {
	instance string
	path     string // of the newest file
	file     *os.File
	in       *bufio.Reader
	final    bool   // it is rotated: nothing is added to it
	partial  []byte // of a line whose end is not written yet
	next     *Entry
	last     time.Time
}

func (s *source) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// files returns the instance's files that there are, open, oldest first. They may be
// renamed meanwhile, always to the next number: going up, none is missed. Within a
// rotation one number is free.
func (s *source) files() ([]*os.File, error) {
	var files []*os.File
	for n, missing := 0, 0; missing < 2; n++ {
		file, err := os.Open(rotated(s.path, n))
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files, missing = append(files, file), 0
	}
	slices.Reverse(files)
	return withoutTwins(files)
}

// withoutTwins drops a file that was renamed, and so opened twice, in between.
func withoutTwins(files []*os.File) ([]*os.File, error) {
	var kept []*os.File
	var infos []fs.FileInfo
	for i, file := range files {
		info, err := file.Stat()
		if err != nil {
			closeAll(kept)
			closeAll(files[i:])
			return nil, err
		}
		if slices.ContainsFunc(infos, func(seen fs.FileInfo) bool { return os.SameFile(seen, info) }) {
			file.Close()
			continue
		}
		kept, infos = append(kept, file), append(infos, info)
	}
	return kept, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// begin opens the file that has the first of the last tail lines, at that line.
func (s *source) begin(tail int) error {
	files, err := s.files()
	if err != nil || len(files) == 0 {
		return err
	}
	first := 0
	if tail >= 0 {
		first, err = seekTail(files, tail)
	}
	for i, file := range files {
		if i != first || err != nil {
			file.Close()
		}
	}
	if err != nil {
		return err
	}
	s.use(files[first])
	return nil
}

func (s *source) use(file *os.File) {
	s.close()
	s.file, s.final, s.partial = file, false, nil
	s.in = bufio.NewReaderSize(file, 16<<10)
}

// line returns the next line without its end, io.EOF if there is none yet.
func (s *source) line() ([]byte, error) {
	for {
		if s.file != nil {
			line, err := s.lineOfFile()
			if !errors.Is(err, io.EOF) {
				return line, err
			}
		}
		more, err := s.goOn()
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, io.EOF
		}
	}
}

func (s *source) lineOfFile() ([]byte, error) {
	for {
		piece, err := s.in.ReadSlice('\n')
		s.partial = append(s.partial, piece...)
		switch {
		case err == nil:
			line := s.partial[:len(s.partial)-1]
			s.partial = nil
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(s.partial) > maxEncoded:
			s.partial = s.partial[:maxEncoded+1] // it is damaged, and its rest adds nothing
		}
	}
}

// goOn tells whether there may be more to read than the end of the file that was
// reached, and opens the next one.
func (s *source) goOn() (bool, error) {
	if s.file != nil {
		current, err := s.isNewest()
		if err != nil || current {
			return false, err
		}
		if !s.final {
			// Something may have been written to it between its end and its rotation.
			s.final = true
			return true, nil
		}
	}
	files, err := s.files()
	if err != nil || len(files) == 0 {
		return false, err
	}
	// The one that is read may have been renamed several times; if it is gone, the oldest that is left follows it.
	next := 0
	if s.file != nil {
		own, err := s.file.Stat()
		if err != nil {
			closeAll(files)
			return false, err
		}
		for i, file := range files {
			if info, err := file.Stat(); err == nil && os.SameFile(own, info) {
				next = i + 1
			}
		}
	}
	for i, file := range files {
		if i != next {
			file.Close()
		}
	}
	if next == len(files) {
		return false, nil
	}
	s.use(files[next])
	return true, nil
}

// isNewest tells whether the file that is read is the one that is written. Within a
// rotation there is none for a moment.
func (s *source) isNewest() (bool, error) {
	newest, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	own, err := s.file.Stat()
	return err == nil && os.SameFile(own, newest), err
}

// seekTail returns which of files, oldest first, has the first of the last n lines,
// and seeks in it to that line.
func seekTail(files []*os.File, n int) (int, error) {
	for i := len(files) - 1; i >= 0; i-- {
		found, offset, err := lastLines(files[i], n)
		if err != nil {
			return 0, err
		}
		n -= found
		if n <= 0 || i == 0 {
			_, err := files[i].Seek(offset, io.SeekStart)
			return i, err
		}
	}
	return 0, nil
}

// lastLines finds the last n lines of file: how many there are of them, and where the
// first begins.
func lastLines(file *os.File, n int) (found int, offset int64, _ error) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	end := info.Size()
	if n <= 0 {
		return 0, end, nil
	}
	chunk := make([]byte, 64<<10)
	for at := end; at > 0; {
		size := min(int64(len(chunk)), at)
		at -= size
		if _, err := file.ReadAt(chunk[:size], at); err != nil {
			return 0, 0, err
		}
		for rest := chunk[:size]; ; {
			i := bytes.LastIndexByte(rest, '\n')
			if i < 0 {
				break
			}
			// The end of the last line begins none.
			if begin := at + int64(i) + 1; begin < end {
				if found++; found == n {
					return found, begin, nil
				}
			}
			rest = rest[:i]
		}
	}
	if end > 0 {
		found++ // the first line has no end before it
	}
	return found, 0, nil
}
