package overlay

import "errors"

var (
	// ErrNoMethod says that no way of making a root works here.
	ErrNoMethod = errors.New("no way to make a root of layers works here")
	// ErrBusy says that a root is in use and cannot be unmounted.
	ErrBusy = errors.New("the root is in use")
)
