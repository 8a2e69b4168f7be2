package lockfile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TakenByTheDead is for a lock that is held. It reports whether the process that
// took it has ended: a child that it had forked, and that has not come to its exec
// yet, holds a copy of the descriptor for some moments more. It is true too for a
// holder of a PID namespace that this process does not see, and for a lock that is
// free by now.
//
// It reads /proc/locks (proc_locks(5)), which names whoever took a lock, and in a
// PID namespace leaves out those that have ended.
func TakenByTheDead(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return true, nil
		}
		return false, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return false, err
	}
	defer locks.Close()
	scanner := bufio.NewScanner(locks)
	for scanner.Scan() {
		if pid, found := flockOf(scanner.Text(), st.Ino); found {
			return isDead(pid), nil
		}
	}
	if err := scanner.Err(); err != nil {
		return false, fmt.Errorf("read /proc/locks: %w", err)
	}
	return true, nil
}

// flockOf reads a line as in "1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF".
// The device is not compared: some filesystems give stat(2) another one.
func flockOf(line string, inode uint64) (pid int, found bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "FLOCK" {
		return 0, false
	}
	_, number, _ := strings.Cut(fields[5], ":")
	_, number, _ = strings.Cut(number, ":")
	if number != strconv.FormatUint(inode, 10) {
		return 0, false
	}
	pid, err := strconv.Atoi(fields[4])
	return pid, err == nil
}

func isDead(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
