package image

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// Kind is the sort of a source.
type Kind string

// The kinds of sources.
const (
	Registry      Kind = "docker"         // docker://REFERENCE
	Layout        Kind = "oci"            // oci:DIR[:TAG]
	LayoutArchive Kind = "oci-archive"    // oci-archive:FILE[:TAG]
	DockerArchive Kind = "docker-archive" // docker-archive:FILE[:REFERENCE]
	Directory     Kind = "dir"            // dir:DIR, a root filesystem
	Tar           Kind = "tar"            // tar:FILE, a root filesystem, packed or not
	Binary        Kind = "binary"         // binary:FILE, a static executable
)

// Source says where an image comes from.
type Source struct {
	Kind Kind
	// Path is absolute; empty for Registry.
	Path string
	// Reference is the registry reference in full ("index.docker.io/library/redis:7"),
	// or the tag or name within an archive; may be empty there.
	Reference string
}

// ParseSource reads a source as a user writes it. Without a prefix, a directory
// with a file oci-layout is a Layout, another directory a Directory, a static
// executable a Binary, and a tar file one of the archives by what it contains. Anything
// else is ErrSource, and the error says what could be written. "host:" is none of
// this package's (see hostroot). A relative path is meant from cwd.
func ParseSource(s, cwd string) (Source, error) { return Source{}, errors.ErrUnsupported }

// String gives what ParseSource reads.
func (s Source) String() string { return "" }

// Pull says when a registry is asked.
type Pull string

// The pull policies.
const (
	PullMissing Pull = "missing" // the default: only what the store does not have
	PullAlways  Pull = "always"  // the tag may have moved; layers that are there are not fetched
	PullNever   Pull = "never"
)

// Progress is one step of a load, for a progress bar. Callbacks come from several
// goroutines, never two at once, and must not block.
type Progress struct {
	// Digest is that of the layer's blob.
	Digest manifest.Digest
	// Stage is "wait", "fetch", "retry", "unpack", "done" or "exists".
	Stage string
	// Done of Total bytes; Total is -1 where it is not known.
	Done, Total int64
	// Err is why the step is tried again.
	Err error
}

// Options say how an image is loaded. The zero value is for root on this host's
// platform.
type Options struct {
	// Platform; the zero value is this host's.
	Platform manifest.Platform
	// Pull is PullMissing if empty.
	Pull Pull
	// Mirrors maps a registry's host to hosts that are asked before it, in order.
	// "http://" before a host is plain HTTP.
	Mirrors map[string][]string
	// PlainHTTP names registries that are asked without TLS. localhost and
	// loopback addresses need no mention.
	PlainHTTP []string
	// Anonymous keeps docker's credentials out of it.
	Anonymous bool
	// Parallel is how many layers are fetched at once; 0 is 4.
	Parallel int
	// Attempts for one request; 0 is 6. StallTimeout ends one that gives no byte;
	// 0 is 30 s.
	Attempts     int
	StallTimeout time.Duration
	// Unpack has limits, owners and form; Variant names them in the store ("" for
	// root's).
	Unpack  unpack.Options
	Variant string
	// Name is the reference under which an image of a Directory, Tar, Binary or
	// archive is kept; empty: the source's own words.
	Name     string
	Progress func(Progress)
	Log      *slog.Logger
}

// Load brings the image of src into s and returns it, tagged. A load that is interrupted
// is gone on with by the next. The error says in one line what is wrong with what
// and wraps one of this package's, manifest's, unpack's or store's.
func Load(ctx context.Context, s *store.Store, src Source, o Options) (store.Image, error) {
	return store.Image{}, errors.ErrUnsupported
}
