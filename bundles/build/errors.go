package build

import "errors"

var (
	// ErrExists says that there is something at the bundle's path already.
	ErrExists = errors.New("it exists and is not empty")
	// ErrNotBuilt says that a directory is no bundle of this package's.
	ErrNotBuilt = errors.New("it was not made by \"bundle build\"")
	// ErrNewer says that a later sandboxrun made the bundle.
	ErrNewer = errors.New("it was made by a newer sandboxrun")
	// ErrInUse says that a process has the bundle's root filesystem as its own.
	ErrInUse = errors.New("it is in use")
	// ErrGone says that the store does not have a layer of the bundle any more.
	ErrGone = errors.New("a layer is not in the store any more")
)
