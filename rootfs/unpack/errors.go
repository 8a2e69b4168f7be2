package unpack

import (
	"errors"
	"fmt"
)

var (
	// ErrEntry says that an entry of the layer is refused. The error is an
	// *EntryError.
	ErrEntry = errors.New("entry is refused")
	// ErrCorrupt says that the stream is no tar archive, or a broken one.
	ErrCorrupt = errors.New("layer is corrupt")
	// ErrTruncated says that the stream ends in the middle of an entry or of a
	// compressed block.
	ErrTruncated = errors.New("layer is truncated")
	// ErrCompression says that the stream is compressed in a way that is not
	// read, or needs too much memory to be.
	ErrCompression = errors.New("compression is not supported")
)

// EntryError says which entry is refused and why. It is ErrEntry, and what
// Unwrap gives (an errno where the kernel refused).
type EntryError struct {
	// Name is the entry's name as the archive has it.
	Name string
	// Reason is a clause such as "its name has \"..\"".
	Reason string
	err    error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("cannot unpack entry %.300q: %s", e.Name, e.Reason)
}

// Is makes every EntryError an ErrEntry.
func (e *EntryError) Is(target error) bool { return target == ErrEntry }

// Unwrap gives the kernel's error, if there is one.
func (e *EntryError) Unwrap() error { return e.err }

// LimitError says which limit a layer exceeds, and where.
type LimitError struct {
	// Limit is the name of the field of Limits.
	Limit string
	// Max is the limit, in the field's unit.
	Max int64
	// Entry is the entry that exceeds it; empty where it is none.
	Entry string
}

func (e *LimitError) Error() string {
	at := ""
	if e.Entry != "" {
		at = fmt.Sprintf(" at entry %.300q", e.Entry)
	}
	return fmt.Sprintf("cannot unpack layer: it exceeds the limit %s of %d%s; raise the limit if you trust the image", e.Limit, e.Max, at)
}
