package store

import "errors"

var (
	// ErrNotFound says that the store does not have the blob, layer or image.
	ErrNotFound = errors.New("not in the store")
	// ErrNewer says that a later sandboxrun wrote the store.
	ErrNewer = errors.New("the store was written by a newer sandboxrun")
	// ErrDigest says that content is not what its digest says.
	ErrDigest = errors.New("digest does not match")
	// ErrCorrupt says that a file of the store is not what the store writes.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrBusy says that somebody else uses what was to be changed.
	ErrBusy = errors.New("the store is in use")
)
