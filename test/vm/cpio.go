package main

import (
	"bytes"
	"fmt"
)

// archiveFile is one entry of an initramfs. A name ending in "/" is a
// directory.
type archiveFile struct {
	name string
	mode uint32 // permission bits
	data []byte
}

// cpio returns files as a "newc" archive, the form that the kernel takes as
// an initramfs and that may follow another such archive (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). Directories
// have to come before what is in them.
func cpio(files []archiveFile) []byte {
	var archive bytes.Buffer
	for i, file := range files {
		mode := 0o100000 | file.mode
		name := file.name
		if last := len(name) - 1; last >= 0 && name[last] == '/' {
			mode, name = 0o040000|file.mode, name[:last]
		}
		writeCPIO(&archive, i+1, mode, name, file.data)
	}
	writeCPIO(&archive, 0, 0, "TRAILER!!!", nil)
	return archive.Bytes()
}

// writeCPIO appends one entry. Owner, device and time are 0, so that the same
// files give the same bytes.
func writeCPIO(archive *bytes.Buffer, inode int, mode uint32, name string, data []byte) {
	fmt.Fprintf(archive, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	archive.WriteString(name)
	archive.WriteByte(0)
	pad(archive)
	archive.Write(data)
	pad(archive)
}

// pad fills up to the next multiple of four, where every part begins.
func pad(archive *bytes.Buffer) {
	for archive.Len()%4 != 0 {
		archive.WriteByte(0)
	}
}
