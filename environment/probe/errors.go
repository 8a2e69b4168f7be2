package probe

import "errors"

// Errors that callers test for.
var (
	// ErrTimeout is when a probe's time is over. The text says what was seen last.
	ErrTimeout = errors.New("its time is over")
	// ErrInvalid is when a probe can never succeed.
	ErrInvalid = errors.New("invalid probe")
)
