package environment

import "errors"

var (
	// ErrNotFound says that there is no environment of that name.
	ErrNotFound = errors.New("no such environment")

	// ErrExists says that an environment of that name lives, or is being started or
	// removed by another process.
	ErrExists = errors.New("is up already")

	// ErrAlive says that what is wanted needs an environment that has ended.
	ErrAlive = errors.New("is up")

	// ErrNewer says that a file was written by a newer version of this program.
	ErrNewer = errors.New("it was written by a newer version of sandboxrun")

	// ErrOtherDataRoot says that an environment has its data below another data root than
	// the one that is used.
	ErrOtherDataRoot = errors.New("it has another data root")

	// ErrInvalidName is wrapped by every error about an environment's name.
	ErrInvalidName = errors.New("invalid name")
)
