package unpack

import (
	"fmt"
	"log/slog"
)

// Form is what a deletion in the layer becomes.
type Form int

const (
	// Overlay makes a layer directory for an overlay mounted with rights in the
	// initial user namespace: a deletion is a character device 0:0, an opaque
	// directory has the xattr trusted.overlay.opaque
	// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
	Overlay Form = iota
	// OverlayUser is Overlay for mounts with the option userxattr, in a user
	// namespace: the xattr is user.overlay.opaque.
	OverlayUser
	// Applied deletes what the tree has from layers below: for flattening layers
	// into one directory, lowest first.
	Applied
)

// String gives the name that layer records use.
func (f Form) String() string {
	switch f {
	case Overlay:
		return "overlay"
	case OverlayUser:
		return "overlay-user"
	case Applied:
		return "applied"
	}
	return fmt.Sprintf("form %d", int(f))
}

// Devices is what becomes of a device node in a layer.
type Devices int

const (
	// MakeDevices makes it; this needs CAP_MKNOD in the initial user namespace.
	MakeDevices Devices = iota
	// SkipDevices leaves it out and logs a warning: what rootless users want.
	SkipDevices
	// RefuseDevices ends with an error.
	RefuseDevices
)

// IDMap maps Size IDs of the layer, from Inside, to this host's, from Outside, as
// a line of /proc/PID/uid_map does.
type IDMap struct {
	Inside, Outside, Size uint32
}

// Limits bound what a layer may ask for. A field that is 0 takes the default.
type Limits struct {
	// Bytes of the uncompressed stream and of the files' sizes, holes included.
	// Default 64 GiB.
	Bytes int64
	// FileBytes is the size of one file, holes included. Default 32 GiB.
	FileBytes int64
	// Entries of the archive. Default 4 Mi.
	Entries int64
	// Depth of a name, in components. Default 256.
	Depth int64
	// Ratio of uncompressed to compressed bytes, looked at after the first
	// 64 MiB. Default 2000: DEFLATE cannot exceed 1032.
	Ratio int64
}

// Default limits.
const (
	defaultBytes     = 64 << 30
	defaultFileBytes = 32 << 30
	defaultEntries   = 4 << 20
	defaultDepth     = 256
	defaultRatio     = 2000
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		value int64
	}{
		{&l.Bytes, defaultBytes}, {&l.FileBytes, defaultFileBytes}, {&l.Entries, defaultEntries},
		{&l.Depth, defaultDepth}, {&l.Ratio, defaultRatio},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// Options say how a layer is applied. The zero value is for root: overlay form,
// owners and devices as the layer has them, default limits.
type Options struct {
	Form    Form
	Devices Devices
	Limits  Limits
	// UIDs and GIDs map owners. Empty: as the layer has them. An owner outside
	// the map is refused.
	UIDs, GIDs []IDMap
	// OwnAll gives every file to the caller, for users that have one ID only. It
	// overrides UIDs and GIDs.
	OwnAll bool
	// KeepXattr tells, for a name other than security.capability, user.* and
	// overlay's own, whether it is set. nil: no. The default set is kept without
	// asking; overlay's own never are.
	KeepXattr func(name string) bool
	// Log gets a warning for everything left out. nil: nowhere.
	Log *slog.Logger
}

// Compression is how a stream is packed.
type Compression string

// What a stream's first bytes can say.
const (
	Plain Compression = "none"
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// Result says what was unpacked.
type Result struct {
	// DiffID is the SHA-256 of the uncompressed stream, as "sha256:<hex>".
	DiffID string
	// Digest is the SHA-256 of the stream as it was read, as "sha256:<hex>".
	Digest string
	// Compression of the stream.
	Compression Compression
	// Read and Unpacked are the bytes of the stream before and after
	// decompression.
	Read, Unpacked int64
	// Entries of the archive.
	Entries int64
	// Skipped counts what was left out with a warning: devices, xattrs that the
	// filesystem or the caller's rights do not allow.
	Skipped int64
	// HidesBelow says that the layer's root is opaque: nothing of the layers below
	// it shows. overlayfs does not heed that sign on a root, so who mounts leaves
	// them out.
	HidesBelow bool
}
