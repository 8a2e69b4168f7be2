// Package hostroot owns the view of this host's root filesystem that a sandbox of
// a "host:" bundle gets: the root as an overlay's read-only lower layer, and an
// upper directory in which whiteouts hide what is nobody else's business.
//
// What is hidden is a list of values, so that it can be printed, tested and added
// to. The whiteouts are made once for each root, some 50 files, before the overlay is
// mounted. They cannot be a lower layer of their own that all roots share:
// overlayfs refuses a lower layer that lies within another one (ELOOP), and
// everything on the host's filesystem lies within "/".
//
// It is a view for programs that are installed here, not a vault: what a package
// puts into /usr or world-readable into /etc stays visible. Two more limits are the
// kernel's. Other filesystems mounted below "/" are not in the lower layer, so a
// separate /usr, /home or /var is the empty directory below it; View.Submounts
// names them, for a bundle to bind or to complain. And the host goes on changing
// its files: what a sandbox sees of a file that changes while it runs is not
// defined (overlayfs.rst, "Changes to underlying filesystems"), though harmless to
// the host; after an upgrade of packages, start it anew.
package hostroot
