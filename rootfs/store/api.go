package store

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// Store is an open store. It has no state but its path, holds no descriptor and
// is safe for concurrent use, by several processes as well.
type Store struct {
	root string
}

// DefaultRoot returns the data root of the calling user: /var/lib/sandboxrun for
// root, else $XDG_DATA_HOME/sandboxrun or ~/.local/share/sandboxrun. getenv is
// os.Getenv.
func DefaultRoot(getenv func(string) string) (string, error) { return "", errors.ErrUnsupported }

// Open returns the store below dataRoot, an absolute path, and makes what is
// missing of it (0700). The error wraps ErrNewer, ErrCorrupt or an errno.
func Open(dataRoot string) (*Store, error) { return nil, errors.ErrUnsupported }

// Root returns the data root.
func (s *Store) Root() string { return s.root }

// Writer is the right to add to the store: while it is held nothing that was
// added is pruned, referenced or not. It ends with the process, however that
// ends.
type Writer struct{ file *os.File }

// Write takes the right to add, beside any number of others; it waits for a
// Prune or Fsck until ctx ends (ErrBusy). A caller holds it from its first look
// at what is there until the reference or lease that keeps it is made.
func (s *Store) Write(ctx context.Context) (*Writer, error) { return nil, errors.ErrUnsupported }

// Close gives the right up.
func (w *Writer) Close() error { return errors.ErrUnsupported }

// Blob opens a blob for reading; it was verified when it came in. The error
// wraps ErrNotFound.
func (s *Store) Blob(d manifest.Digest) (*os.File, error) { return nil, errors.ErrUnsupported }

// ReadBlob returns a small blob (up to manifest.MaxDocument bytes), verified
// again.
func (s *Store) ReadBlob(d manifest.Digest) ([]byte, error) { return nil, errors.ErrUnsupported }

// AddBlob stores what r gives under its digest d; size is in bytes, -1 for
// unknown. Content that is not d is not kept (ErrDigest). A blob that is there
// already leaves r unread.
func (s *Store) AddBlob(ctx context.Context, d manifest.Digest, size int64, r io.Reader) error {
	return errors.ErrUnsupported
}

// Partial is a blob in the course of its download. Not safe for concurrent use.
type Partial struct{}

// Partial opens the download of blob d of size bytes where a former one ended,
// at Offset. It waits until ctx ends for another process that downloads the same
// blob, and then returns ErrExist (os.ErrExist) if that has brought it.
func (s *Store) Partial(ctx context.Context, d manifest.Digest, size int64) (*Partial, error) {
	return nil, errors.ErrUnsupported
}

// Offset is how many bytes are there.
func (p *Partial) Offset() int64 { return 0 }

// Write appends.
func (p *Partial) Write(b []byte) (int, error) { return 0, errors.ErrUnsupported }

// Restart forgets all bytes.
func (p *Partial) Restart() error { return errors.ErrUnsupported }

// Commit verifies the content and gives it its name. What is not d is removed
// (ErrDigest).
func (p *Partial) Commit() error { return errors.ErrUnsupported }

// Close ends the download and leaves what there is for the next one.
func (p *Partial) Close() error { return errors.ErrUnsupported }

// Layer is a layer unpacked in the store.
type Layer struct {
	// DiffID is the digest of the uncompressed tar stream.
	DiffID manifest.Digest
	// Dir is the absolute path of the tree. It is shared: never write to it.
	Dir string
	// Form is unpack's name of the form of its whiteouts: "overlay" or
	// "overlay-user".
	Form string
	// Blob is the stream it was made from.
	Blob manifest.Digest
	// Bytes is the size of the uncompressed stream; Entries those of the archive.
	Bytes, Entries int64
}

// Layer returns an unpacked layer. variant tells apart trees of one layer that
// differ in their owners or form; "" is root's. The error wraps ErrNotFound, also
// where the layer cannot be trusted after a power cut.
func (s *Store) Layer(diffID manifest.Digest, variant string) (Layer, error) {
	return Layer{}, errors.ErrUnsupported
}

// MakeLayer returns a layer that is there or has fill make it in the empty
// directory dir, while no other process makes the same. fill returns the layer's
// facts; Dir is set by the store.
func (s *Store) MakeLayer(ctx context.Context, diffID manifest.Digest, variant string, fill func(dir string) (Layer, error)) (Layer, error) {
	return Layer{}, errors.ErrUnsupported
}

// Image is an image in the store, whole: documents and unpacked layers.
type Image struct {
	// Reference is what it was asked for by, such as "docker.io/library/redis:7".
	Reference string
	// Digest is that of the manifest.
	Digest manifest.Digest
	// ConfigDigest is the image ID of docker.
	ConfigDigest manifest.Digest
	Manifest     manifest.Manifest
	Config       manifest.Config
	// Layers from the lowest to the highest.
	Layers []Layer
	// Pulled is when the reference was made or last renewed.
	Pulled time.Time
}

// Image returns the image that reference, or a "sha256:<hex>" of a manifest,
// names, with its layers of the variant. The error wraps ErrNotFound: of the
// image, or of a part of it.
func (s *Store) Image(reference, variant string) (Image, error) {
	return Image{}, errors.ErrUnsupported
}

// Entry is a line of the list of images.
type Entry struct {
	Reference string          `json:"reference"`
	Digest    manifest.Digest `json:"digest"`
	Pulled    time.Time       `json:"pulled"`
	// Size is that of the blobs: documents and packed layers, in bytes.
	Size int64 `json:"size"`
	// Platform as "linux/amd64".
	Platform string `json:"platform"`
}

// Images lists references, sorted. One that cannot be read is left out: Fsck
// tells of it.
func (s *Store) Images() ([]Entry, error) { return nil, errors.ErrUnsupported }

// Tag makes reference name the manifest d, in place of what it named.
func (s *Store) Tag(reference string, d manifest.Digest) error { return errors.ErrUnsupported }

// Untag removes a reference; what it alone used goes with the next Prune. The
// error wraps ErrNotFound.
func (s *Store) Untag(reference string) error { return errors.ErrUnsupported }

// Lease keeps the manifest image (may be "") and the layers from being pruned
// until Release(name), or until the path holder, such as a bundle's directory, does
// not exist any more. A lease of the same name is replaced.
func (s *Store) Lease(name, holder string, image manifest.Digest, layers []Layer) error {
	return errors.ErrUnsupported
}

// Release ends a lease; none of that name is no error.
func (s *Store) Release(name string) error { return errors.ErrUnsupported }

// Settle flushes what was added to disk (one syncfs(2)), so that it is trusted
// after a power cut. Reboots in good order need it too.
func (s *Store) Settle() error { return errors.ErrUnsupported }

// Usage is what the store takes on disk, in bytes as allocated (hard links once).
type Usage struct {
	Blobs, Layers, Partial, Temporary Count
	// Reclaimable is what Prune would remove.
	Reclaimable Count
	Images      int
	Leases      int
}

// Count is a number of things and their size.
type Count struct {
	Number int   `json:"number"`
	Bytes  int64 `json:"bytes"`
}

// Usage measures the store.
func (s *Store) Usage(ctx context.Context) (Usage, error) { return Usage{}, errors.ErrUnsupported }

// PruneOptions say how much is removed.
type PruneOptions struct {
	// Images removes references that no lease uses, too.
	Images bool
	// PackedLayers removes the blobs of layers that are unpacked, settled and used.
	PackedLayers bool
	// DryRun removes nothing and says what would be.
	DryRun bool
}

// Pruned is what was removed.
type Pruned struct {
	References                                []string
	Blobs, Layers, Partial, Leases, Temporary Count
}

// Prune removes what no reference and no lease uses. It waits for writers until
// ctx ends (ErrBusy). Layers are renamed aside first, so that a killed prune leaves no half
// layer under its name.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	return Pruned{}, errors.ErrUnsupported
}

// Finding is something that Fsck found.
type Finding struct {
	// Path is relative to the data root.
	Path string `json:"path"`
	// Problem is a clause: "its content has another digest".
	Problem string `json:"problem"`
	// Repaired says that it was removed.
	Repaired bool `json:"repaired"`
}

// Fsck verifies every blob, record and reference and, if repair is set, removes
// what is broken; the next pull brings it back. remake, if not nil, unpacks a blob
// again so that the trees can be compared file by file. It waits for writers until
// ctx ends (ErrBusy).
func (s *Store) Fsck(ctx context.Context, repair bool, remake func(ctx context.Context, blob io.Reader, dir, variant string) error) ([]Finding, error) {
	return nil, errors.ErrUnsupported
}
