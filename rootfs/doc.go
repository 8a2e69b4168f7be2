// Package rootfs owns the root filesystems of sandboxes.
//
// Today that is the check of the directory a bundle names in root.path: Resolve
// turns it into the path that libcontainer can use, or says in one line why it
// can't be one. The package refuses to guess: it neither creates a missing
// directory nor follows a root.path that is itself a symbolic link.
//
// It imports nothing of ours but internal/... and is used by cmd and bundles.
package rootfs
