package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// Sizes of a run's disks in bytes. All are sparse: they take what is written.
const (
	ioDiskSize     = 64 << 20
	reportDiskSize = 4 << 30
	// hostDiskRoom is what a command may add to its copy of a host directory.
	hostDiskRoom = 1 << 30
)

// namelessFile makes a file in dir without a name: it is gone with its last
// descriptor, however its holders end.
func namelessFile(dir string, size int64) (*os.File, error) {
	file, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("unlink disk: %w", err)
	}
	if err := file.Truncate(size); err != nil {
		file.Close()
		return nil, fmt.Errorf("size disk: %w", err)
	}
	return file, nil
}

// directoryDisk makes a nameless file with an ext4 file system that has a copy
// of source. Owners and modes are kept.
func directoryDisk(ctx context.Context, dir, source string) (*os.File, error) {
	bytes, files, err := treeSize(source)
	if err != nil {
		return nil, fmt.Errorf("measure %q: %w", source, err)
	}
	size := bytes + bytes/8 + hostDiskRoom
	disk, err := namelessFile(dir, size)
	if err != nil {
		return nil, err
	}
	// No journal: nothing of it has to survive a crash.
	cmd := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0",
		"-E", "lazy_itable_init=1", "-N", strconv.FormatInt(files+files/4+65536, 10),
		"-d", source, "/proc/self/fd/3", strconv.FormatInt(size>>10, 10)+"k")
	cmd.ExtraFiles = []*os.File{disk}
	var log tail
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := runTied(ctx, cmd); err != nil {
		disk.Close()
		return nil, fmt.Errorf("copy %q to a disk: %w: %s", source, err, log.lines(5))
	}
	return disk, nil
}

// treeSize returns what a copy of dir needs at most: bytes in blocks of 4 KiB,
// and inodes.
func treeSize(dir string) (bytes, files int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		bytes += (info.Size() + 4095) &^ 4095
		return nil
	})
	return bytes, files, err
}
