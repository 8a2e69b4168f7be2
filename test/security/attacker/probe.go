package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxDescriptor is the default spec's RLIMIT_NOFILE.
const maxDescriptor = 1024

// nap is a program that is there for a moment.
func nap(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	<-time.After(d)
	return nil
}

// inherited returns the descriptors that this program was started with. It asks
// the kernel, not /proc, which may be forged. What the Go runtime opened is
// close-on-exec.
func inherited() []int {
	var found []int
	for fd := range maxDescriptor {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			found = append(found, fd)
		}
	}
	return found
}

func descriptors([]string) error {
	printDescriptors(os.Stdout)
	return nil
}

// descriptorsTo is descriptors for a hook, whose output goes nowhere.
func descriptorsTo(args []string) error {
	file, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	printDescriptors(file)
	return file.Close()
}

func printDescriptors(to io.Writer) {
	for _, fd := range inherited() {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			link = err.Error()
		}
		fmt.Fprintln(to, fd, link)
	}
}

// processes prints the descriptors of every other process that lets itself be
// looked at, as "PID/FD TARGET".
func processes([]string) error {
	for _, pid := range pids() {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		if err != nil || pid == os.Getpid() {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			link, err := os.Readlink(path)
			if err != nil {
				continue
			}
			fmt.Fprintln(os.Stdout, fmt.Sprintf("%d/%s", pid, e.Name()), link)
		}
	}
	return nil
}

func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// reach looks for the host's file args[0], an absolute path there, in every way
// that a directory of the host could be at hand.
func reach(args []string) error {
	marker := strings.TrimPrefix(args[0], "/")
	buffer := make([]byte, unix.PathMax)
	if n, err := unix.Getcwd(buffer); err != nil {
		fmt.Fprintln(os.Stdout, "cwd", err)
	} else {
		fmt.Fprintln(os.Stdout, "cwd", unix.ByteSliceToString(buffer[:n]))
	}
	for from, fd := range startingPoints() {
		for _, up := range []string{"", strings.Repeat("../", 40)} {
			if text, err := readAt(fd, up+marker); err == nil {
				fmt.Fprintf(os.Stdout, "reached by %s: %s\n", from, text)
			}
		}
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
}

// startingPoints are directories from which a host's tree could be walked.
func startingPoints() map[string]int {
	points := map[string]int{"cwd": unix.AT_FDCWD}
	for _, fd := range inherited() {
		points[fmt.Sprint("descriptor ", fd)] = fd
	}
	for _, path := range mountPoints() {
		if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			points["mount "+path] = fd
		}
	}
	for _, pid := range pids() {
		for _, link := range []string{"root", "cwd"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, link)
			if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
				points[path] = fd
			}
		}
	}
	return points
}

func mountPoints() []string {
	points := []string{"/"}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return points
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, fields[4])
		}
	}
	return points
}

func readAt(dir int, path string) (string, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buffer := make([]byte, 256)
	n, err := unix.Read(fd, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// openAll prints for each path what it is, what its first line says, and whether
// it can be opened for writing. Nothing is written.
func openAll(paths []string) error {
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			fmt.Fprintf(os.Stdout, "%s stat %v\n", path, err)
			continue
		}
		kind := fs.FileMode(st.Mode).Perm().String()
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			kind = fmt.Sprintf("char %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		text := ""
		// A terminal has nothing to say.
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev == unix.Mkdev(1, 3) {
			text, _ = readAt(unix.AT_FDCWD, path)
		}
		first, _, _ := strings.Cut(text, "\n")
		fmt.Fprintf(os.Stdout, "%s is [%s] says [%s] write [%s]\n", path, kind, first, errnoName(openForWriting(path)))
	}
	fmt.Fprintln(os.Stdout, "done")
	return nil
}

func openForWriting(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// identity prints who this program is and what it may do.
func identity([]string) error {
	groups, err := unix.Getgroups()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "uid", unix.Getuid(), unix.Geteuid(), "gid", unix.Getgid(), "groups", groups, "home", os.Getenv("HOME"))
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fmt.Fprintln(os.Stdout, name, strings.TrimSpace(value))
		}
	}
	return nil
}

// errnoName is the errno's name, "0" for success.
func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "0"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}
