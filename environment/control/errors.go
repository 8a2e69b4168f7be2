package control

import "errors"

var (
	// ErrNotRunning says that nobody serves the control socket: the environment is not
	// up, or its supervisor has just ended.
	ErrNotRunning = errors.New("the environment is not up")

	// ErrTooLong says that a line exceeds MaxLine.
	ErrTooLong = errors.New("line of more than 1 MiB")

	// ErrBroken says that a line is not what the protocol allows.
	ErrBroken = errors.New("not understood")
)
