package manifest

import "errors"

var (
	// ErrMediaType says that a document or layer is of a kind that images of
	// programs do not have.
	ErrMediaType = errors.New("media type is not supported")
	// ErrInvalid says that a document is not what its kind requires.
	ErrInvalid = errors.New("it is not valid")
	// ErrNoPlatform says that an index has no manifest for the platform asked for.
	ErrNoPlatform = errors.New("no manifest for the platform")
)
