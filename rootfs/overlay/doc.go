// Package overlay owns the mounted root of a sandbox: read-only layers below one
// directory that the sandbox may write to.
//
// Probe says what can be done with the filesystem of a data root and why not
// better; Mount and Unmount do it. Paths are given to the kernel as descriptors
// (/proc/self/fd names, one by one as lowerdir+ since Linux 6.7, in one string
// before), so that neither their length nor colons or commas in them matter, hundreds of
// layers fit, and no link is followed after the check. It refuses a target or layer whose last component is a link.
//
// What Mount makes is removed from what is on disk and in the mount table alone.
package overlay
