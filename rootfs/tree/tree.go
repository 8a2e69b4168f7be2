package tree

import (
	"errors"
	"io"
)

// Options choose what a description has.
type Options struct {
	// Times adds modification times (seconds.nanoseconds).
	Times bool
	// NoContent leaves out the SHA-256 of files' contents, which costs reading them.
	NoContent bool
}

// Print writes the description of the directory dir to w: a line a file, sorted
// by path (byte order, parents first), of fields separated by a space:
//
//	path type mode uid gid size device time xattrs link content
//
// path and all that the tree chooses are quoted by strconv.Quote, from ".". type is one of
// f d l p s c b. mode is octal with the set-ID and sticky bits. size is that of
// regular files, else 0. device is major:minor of device nodes, else "-". time is
// "-" without Options.Times. xattrs is {"name"="hex",…} sorted. link is the quoted
// target of a symbolic link, or "=" and the quoted first path of the hard link group
// (within the tree), else "-". content is "sha256:<hex>" of regular files.
func Print(w io.Writer, dir string, o Options) error {
	return errors.ErrUnsupported
}
