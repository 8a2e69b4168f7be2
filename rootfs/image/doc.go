// Package image owns the way of images into the store: from a registry, from
// archives and layouts on disk, from a directory or tar of a root filesystem, and
// from one static binary.
//
// What is there afterwards is a store.Image: documents verified by digest, layers
// verified by digest and diff ID, unpacked and shared. It refuses what package
// manifest refuses, content that is not what its digest says, truncated archives,
// images for another platform, and a source it would have to guess.
//
// go-containerregistry brings references, credentials (docker's config.json and
// helpers) and the token dance. Transfers are ours: its layers cannot be resumed
// by Range, do not know a stalled connection and do not honour Retry-After. Archives and
// layouts are read here too, in one pass and by opened roots: its tarball package
// reads the archive once for each layer.
//
// It is imported by the companion program cmd/sandboxrun-images only: the
// libraries' initialisation would be paid at every start of a sandbox.
package image
