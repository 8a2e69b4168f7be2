package bundles

import "errors"

// ConfigFile is the name of the configuration in a bundle's directory
// (runtime-spec, bundle.md).
const ConfigFile = "config.json"

var (
	// ErrNotFound says that the bundle's directory does not exist.
	ErrNotFound = errors.New("the directory does not exist")
	// ErrNotDirectory says that the bundle is something else than a directory.
	ErrNotDirectory = errors.New("it is not a directory")
	// ErrNoConfig says that the bundle has no config.json.
	ErrNoConfig = errors.New("config.json is missing")
	// ErrNotRegular says that config.json is a directory, pipe, socket or device.
	ErrNotRegular = errors.New("config.json is not a regular file")
	// ErrTooLarge says that config.json has more than MaxConfigBytes.
	ErrTooLarge = errors.New("config.json is too large")
	// ErrExists says that Write found a config.json and left it alone.
	ErrExists = errors.New("config.json exists")
)

// SpecError is one problem of a config.json. Decode and Validate join all they
// find (errors.Join); errors.As finds the first in the document's order of
// checks.
type SpecError struct {
	// Path is where the problem is: member names joined by dots, array indexes
	// in brackets, and in brackets and quotes a name that is no plain word:
	// `process.args[0]`, `linux.sysctl["net.ipv4.ip_forward"]`. It is empty for
	// the document as a whole.
	Path string
	// Problem continues the path to a sentence: `must be an absolute path, not
	// "tmp"`. One line; strings from the document are quoted in it.
	Problem string
}

func (e *SpecError) Error() string {
	if e.Path == "" {
		return ConfigFile + ": " + e.Problem
	}
	return ConfigFile + ": " + e.Path + ": " + e.Problem
}
