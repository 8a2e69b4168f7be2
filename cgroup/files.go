package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of one kernel file. cgroup.procs of a large group is the largest.
const maxFile = 16 << 20

// readFile reads a kernel file without registering it with the runtime's poller, which os.ReadFile
// does for files that can be polled, as cgroup files can.
func readFile(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var small [4096]byte
	buf := small[:0]
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= maxFile {
				return "", fmt.Errorf("read %s: more than %d bytes", path, maxFile)
			}
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return string(buf), nil
		default:
			buf = buf[:len(buf)+n]
		}
	}
}

func writeFile(path, value string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
		return nil
	}
}

// open follows no symlink in the last part: cgroup file systems have none, so one would be a trap.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

// isGone says that a file or its group isn't there. The kernel answers ENODEV on an open file of a
// removed group.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// isAbsent says that the kernel doesn't give a figure here: the file isn't there (also when the group
// isn't) or refuses to be read in this configuration, as *.pressure does with psi=0.
func isAbsent(err error) bool {
	return isGone(err) || errors.Is(err, unix.EOPNOTSUPP)
}

// readUint reads a file with one number. nil without an error: no such file, or "max".
func readUint(path string) (*uint64, error) {
	text, err := readFile(path)
	if err != nil {
		if isAbsent(err) {
			return nil, nil
		}
		return nil, err
	}
	text = strings.TrimSpace(text)
	if text == "max" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return &n, nil
}

// keyed is the content of a file of "key value" lines. nil means that there was no such file.
type keyed map[string]uint64

func readKeyed(path string) (keyed, error) {
	text, err := readFile(path)
	if err != nil {
		if isAbsent(err) {
			return nil, nil
		}
		return nil, err
	}
	values := keyed{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("parse %s: line %q: %w", path, strings.TrimSpace(line), err)
		}
		values[key] = n
	}
	return values, nil
}

// get returns a key's value, nil when the kernel doesn't list it.
func (k keyed) get(key string) *uint64 {
	if n, ok := k[key]; ok {
		return &n
	}
	return nil
}

// seconds returns a key's value, counted in units of 1/perSecond.
func (k keyed) seconds(key string, perSecond float64) *float64 {
	return inSeconds(k.get(key), perSecond)
}

func inSeconds(n *uint64, perSecond float64) *float64 {
	if n == nil {
		return nil
	}
	s := float64(*n) / perSecond
	return &s
}

// childDirs returns the groups right below dir; none when dir is gone.
func childDirs(dir string) ([]string, error) {
	// kernfs keeps the link count of a directory at two and one for each directory in it, so that one
	// call tells that there are none.
	var st unix.Stat_t
	if unix.Lstat(dir, &st) == nil && st.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if isGone(err) {
			return nil, nil
		}
		return nil, err
	}
	var children []string
	for _, e := range entries {
		if e.IsDir() {
			children = append(children, dir+"/"+e.Name())
		}
	}
	return children, nil
}

// walkDirs calls f for dir and each group below it, parents first.
func walkDirs(dir string, f func(dir string) error) error {
	if err := f(dir); err != nil {
		return err
	}
	children, err := childDirs(dir)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := walkDirs(child, f); err != nil {
			return err
		}
	}
	return nil
}
