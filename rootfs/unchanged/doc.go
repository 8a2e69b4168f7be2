// Package unchanged owns the memory of which files an image in the store was made
// of, so that a directory or program that has not changed since need not be read
// again to know its image.
//
// What stands for the files is what lstat(2) says of each: place, inode, size, mode,
// owner, times. The kernel sets a file's ctime at every change of content or
// attributes, and no program can set it back. Two things could still deceive, and
// neither is remembered: a file that changed so lately that the clock may not have
// moved since, and one that changed while it was read.
//
//	<data root>/sources/<sha256 of the key>.json
//
// The package refuses to say anything in doubt: whoever asks reads the files then.
// Losing the memory costs time, nothing else.
package unchanged
