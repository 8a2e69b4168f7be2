// Package hostroot owns the view of this host's root filesystem that a sandbox of
// a "host:" bundle gets: the root as a read-only lower layer and over it a layer
// that hides what is nobody else's business.
//
// What is hidden is a list of values, so that it can be printed, tested and added
// to. The hiding layer is whiteouts and empty opaque directories, made once.
//
// It is a view for programs that are installed here, not a vault: what a package
// puts world-readable into /usr or /etc stays visible. Other filesystems mounted below / are not in
// an overlay's lower layer (it is one filesystem, without its submounts), so
// a separate /usr, /home or /var appears as the empty directory below it; Submounts names
// them so that a bundle can bind what it wants and say what is missing.
package hostroot
