// Package atomicfile writes small files so that a reader sees the old content
// or the new one and never a part of either, also after a crash or on a full
// disk.
//
// It owns the sequence temporary file, write, fsync, rename, fsync of the
// directory. It refuses to do more: no locking (two writers of one path are
// serialised by their own lock, the last rename wins), no creation of parent
// directories, no paths that a sandboxed program controls (paths are followed
// as the kernel follows them; names inside a sandbox are opened by os.Root or
// openat2 instead).
//
// The temporary file is a hidden sibling named ".NAME.*.tmp", mode 0600 until it
// is complete. It is removed on every failure; only a SIGKILL or a power cut
// between creation and rename can leave one behind.
package atomicfile
