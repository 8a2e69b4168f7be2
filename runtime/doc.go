// Package runtime owns the OCI lifecycle of containers: create, start, run,
// kill, delete, state, list, and the removal of what a dead supervisor left.
//
// With package nsinit it is the only user of libcontainer. Everything that
// starts a container calls this package in its own process; nothing runs the
// sandboxrun binary for it.
//
// A [Runtime] is a handle on one state root on disk. There are two ways to
// live:
//
//   - [Runtime.Create] makes a container that belongs to nobody. It stays until
//     [Container.Delete], as with runc, whatever happens to its maker.
//   - [Runtime.Run] supervises a container from the first step to the last and
//     returns a [Report]. The container ends with the calling process, even if
//     that is killed, and [Runtime.GC] removes what such a death leaves.
//
// Who owns a container is decided by a lock file (held as long as its owner
// lives) and by an owner record beside libcontainer's state; see record.go.
//
// The package makes relative paths of a spec absolute before libcontainer sees
// them, and changes neither the working directory, the umask nor the
// environment of its process. It refuses to know how bundles are built, how
// limits are written, or how anything is printed.
package runtime
