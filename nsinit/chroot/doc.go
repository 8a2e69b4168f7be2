// Package chroot makes the root directory of a caller that was changed by
// chroot(2) the root of the container's mount namespace.
//
// In a chroot, pivot_root(2) exchanges what is mounted at the changed root, and
// the host's own root stays mounted in the container's mount namespace, below
// the root filesystem. A process that joins the namespace later, as exec does,
// then lands in the host's root (setns(2)), and one with CAP_SYS_CHROOT climbs
// there from inside. This package gives the container's namespace the caller's
// root and nothing else, before libcontainer works in it. Where the caller's
// root is its namespace's, which is everywhere else, nothing happens.
//
// It is a package of its own for the sake of the linker, which orders C
// constructors by packages: this one has to come after libcontainer's nsexec.
package chroot

import "C" // for leave.c
