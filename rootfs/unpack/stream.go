package unpack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	chunkSize = 256 << 10
	chunks    = 8
	// zstdWindow is the largest window that is decoded, and so the memory it takes.
	// zstd's own levels up to 19 need 8 MiB.
	zstdWindow = 32 << 20
	// ratioFrom is the number of unpacked bytes after which the ratio counts.
	ratioFrom = 64 << 20
)

// stream reads, hashes and unpacks a layer on a goroutine of its own while the
// caller writes files. It is the reader of the tar archive.
//
//	source -> packed (count, hash) -> decompressor -> hash -> full -> Read
//	                                     ^---- empty <---------------'
type stream struct {
	full  chan []byte
	empty chan []byte
	stop  chan struct{} // closed by the caller: no more is wanted
	done  chan struct{} // closed by the goroutine, after which err and result may be read

	current, rest []byte

	result Result
	err    error
}

// startStream begins to read r. finish must be called.
func startStream(ctx context.Context, r io.Reader, limits Limits) *stream {
	s := &stream{full: make(chan []byte, chunks), empty: make(chan []byte, chunks), stop: make(chan struct{}), done: make(chan struct{})}
	for range chunks {
		s.empty <- make([]byte, chunkSize)
	}
	go func() {
		defer close(s.done)
		defer close(s.full)
		s.err = s.pump(ctx, &packed{r: r, hash: sha256.New()}, limits)
	}()
	return s
}

// packed is the stream as it comes, counted and hashed.
type packed struct {
	r    io.Reader
	n    int64
	hash hash.Hash
	err  error // the source's own failure
}

func (p *packed) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	p.hash.Write(b[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

func (s *stream) pump(ctx context.Context, source *packed, limits Limits) error {
	buffered := bufio.NewReaderSize(source, chunkSize)
	unpacked, kind, closeUnpacked, err := decompress(buffered)
	if err != nil {
		return source.explain(err)
	}
	defer closeUnpacked()
	s.result.Compression = kind
	diff := source.hash
	if kind != Plain {
		diff = sha256.New()
	}
	for {
		var chunk []byte
		select {
		case chunk = <-s.empty:
		case <-s.stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(unpacked, chunk[:chunkSize])
		if kind != Plain {
			diff.Write(chunk[:n])
		}
		s.result.Unpacked += int64(n)
		if over := limits.exceeded(s.result.Unpacked, source.n); over != nil {
			return over
		}
		ended := errors.Is(err, io.EOF) || (errors.Is(err, io.ErrUnexpectedEOF) && atEnd(unpacked))
		if err != nil && !ended {
			return source.explain(err)
		}
		if n > 0 {
			select {
			case s.full <- chunk[:n]:
			case <-s.stop:
				return nil
			}
		}
		if ended {
			s.result.Read = source.n
			s.result.Digest = sum(source.hash)
			s.result.DiffID = sum(diff)
			return nil
		}
	}
}

// atEnd tells apart io.ReadFull's ErrUnexpectedEOF, a last chunk that is not
// full, from that of a decompressor whose input ends too early: the latter repeats
// its error.
func atEnd(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && errors.Is(err, io.EOF)
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// exceeded says whether so many bytes are too many.
func (l Limits) exceeded(unpacked, read int64) error {
	if unpacked > l.Bytes {
		return &LimitError{Limit: "Bytes", Max: l.Bytes}
	}
	if unpacked > ratioFrom && unpacked/max(read, 1) > l.Ratio {
		return &LimitError{Limit: "Ratio", Max: l.Ratio}
	}
	return nil
}

// magics are the first bytes of what a stream can be. RFC 1952, RFC 8878 (frames
// and skippable frames 0x184D2A5?), and what is known but not read.
var magics = []struct {
	prefix []byte
	kind   Compression
}{
	{[]byte{0x1f, 0x8b, 0x08}, Gzip},
	{[]byte{0x28, 0xb5, 0x2f, 0xfd}, Zstd},
	{[]byte("\xfd7zXZ\x00"), "xz"},
	{[]byte("BZh"), "bzip2"},
	{[]byte{0x04, 0x22, 0x4d, 0x18}, "lz4"},
}

// Sniff tells how a stream that begins with head is packed: Plain, Gzip, Zstd, or the
// name of a compression that is not read.
func Sniff(head []byte) Compression {
	for _, m := range magics {
		// A tar header begins with a name and has "ustar" at 257: a file named
		// BZh… must not be taken for bzip2.
		if bytes.HasPrefix(head, m.prefix) && !(len(head) >= 262 && string(head[257:262]) == "ustar") {
			return m.kind
		}
	}
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18 {
		return Zstd
	}
	return Plain
}

// Decompress returns what r contains, and how it was packed. release ends the
// decompressor; r stays the caller's.
func Decompress(r io.Reader) (unpacked io.Reader, kind Compression, release func(), err error) {
	return decompress(bufio.NewReaderSize(r, chunkSize))
}

func decompress(r *bufio.Reader) (io.Reader, Compression, func(), error) {
	head, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", nil, err
	}
	switch kind := Sniff(head); kind {
	case Plain:
		return r, Plain, func() {}, nil
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, "", nil, err
		}
		return z, Gzip, func() { _ = z.Close() }, nil
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, "", nil, err
		}
		return z, Zstd, z.Close, nil
	default:
		return nil, "", nil, fmt.Errorf("%w: the layer is packed with %s; pack it with gzip or zstd", ErrCompression, kind)
	}
}

// explain turns a decompressor's error into one of ours, unless the source itself
// failed.
func (p *packed) explain(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case p.err != nil:
		return p.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w after %d bytes", ErrTruncated, p.n)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: a zstd window above %d MiB; pack it with a lower level or without --long", ErrCompression, zstdWindow>>20)
	case errors.Is(err, ErrCompression):
		return err
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// Read gives the unpacked stream. A failure of the goroutine is the error once all
// before it has been read.
func (s *stream) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.current != nil {
			s.empty <- s.current // never blocks: there are as many places as chunks
			s.current = nil
		}
		chunk, ok := <-s.full
		if !ok {
			<-s.done
			if s.err != nil {
				return 0, s.err
			}
			return 0, io.EOF
		}
		s.current, s.rest = chunk, chunk
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// drain reads what follows the archive, so that the digests are those of all of
// it.
func (s *stream) drain() error {
	_, err := io.Copy(io.Discard, s)
	return err
}

// finish ends the goroutine and waits for it.
func (s *stream) finish() {
	close(s.stop)
	<-s.done
}

// Measure reads a layer's stream to its end as Layer does, and makes nothing: for
// digests that are wanted before the layer has a place.
func Measure(ctx context.Context, r io.Reader, limits Limits) (Result, error) {
	s := startStream(ctx, r, limits.withDefaults())
	err := s.drain()
	s.finish()
	if err != nil {
		return Result{}, err
	}
	return s.result, nil
}
