// Package manifest owns what an image says of itself: digests, descriptors,
// platforms, indexes, manifests and configurations, as plain values read from JSON
// (OCI image-spec 1.1 and the Docker image manifest, version 2, schema 2, which
// differ in their media types only).
//
// It refuses what it cannot vouch for: a media type it does not know, a digest
// that is not SHA-256, documents above 4 MiB, manifests whose layers do not
// match the configuration's diff IDs, schema 1. It reads nothing but the bytes it is given and
// touches neither network nor disk.
//
// It exists apart from a library's types so that bundles and the store can read
// an image without importing a registry client, whose initialisation would be
// paid at every start of a sandbox.
package manifest
