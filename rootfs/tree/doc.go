// Package tree owns the description of a file tree: one line for each file with
// everything that an unpacked image is judged by. Two trees are equal where their
// descriptions are.
//
// It refuses to follow: it never leaves the tree by a link and never opens
// anything but regular files and directories.
package tree
