// Package rootfs owns the root filesystems of sandboxes.
//
// Today that is the check of the directory a bundle names in root.path: Resolve
// turns it into the path that libcontainer can use, or says in one line why it
// can't be one. The package refuses to guess: it neither creates a missing
// directory nor follows a root.path that is itself a symbolic link.
//
// Images and their layers are sub-packages, one idea each, so that a start of a
// sandbox links none of what it does not use: manifest (documents as values),
// unpack and pack (layers to trees and back), tree (what a tree is, line by line), store (blobs,
// layers, references, leases), image (sources into the store), overlay (mounted
// roots), hostroot (this host's root without its secrets). image and unpack import
// registry and compression libraries, and are for programs that may be slow to
// start.
//
// It imports nothing of ours but internal/... and is used by cmd and bundles.
package rootfs
