package image

import "errors"

var (
	// ErrSource says that a source cannot be understood.
	ErrSource = errors.New("source is not understood")
	// ErrPlatform says that there is no image for the platform asked for.
	ErrPlatform = errors.New("image is for another platform")
	// ErrTruncated says that a source ends too early.
	ErrTruncated = errors.New("it is truncated")
	// ErrRegistry says that the registry refused or could not be reached, after
	// all attempts.
	ErrRegistry = errors.New("registry did not answer as it should")
	// ErrUnauthorized says that the registry wants other credentials.
	ErrUnauthorized = errors.New("access denied")
	// ErrUnknown says that the registry, archive or layout has no such image.
	ErrUnknown = errors.New("no such image")
)
