package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scratch is all that bench makes on the host.
type scratch struct {
	name    string // part of every container's ID; the name of the cgroup
	bundles string // directory of the bundles
	state   string // directory of the state roots
}

// newScratch makes the directories. bundlesParent must allow programs to be
// executed; stateParent need not.
func newScratch(bundlesParent, stateParent string) (*scratch, error) {
	s := &scratch{name: fmt.Sprintf("sandboxrun-bench-%d", os.Getpid())}
	var err error
	if s.bundles, err = os.MkdirTemp(bundlesParent, s.name+"-bundles-"); err != nil {
		return nil, fmt.Errorf("cannot make a directory for bundles: %w; name another parent with -dir", err)
	}
	if s.state, err = os.MkdirTemp(stateParent, s.name+"-state-"); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a directory for state: %w; name another parent with -state-dir", err), s.remove())
	}
	return s, nil
}

// cgroup is the containers' group, from the root of each hierarchy. They run one
// after the other, so one will do.
func (s *scratch) cgroup() string { return "/" + s.name }

// remove removes everything. What the contenders should have removed themselves
// is removed too, and named in the error.
func (s *scratch) remove() error {
	var errs []error
	for _, dir := range s.mounts() {
		errs = append(errs, fmt.Errorf("the mount %s was left behind", dir))
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			errs = append(errs, &os.PathError{Op: "unmount", Path: dir, Err: err})
		}
	}
	for _, dir := range s.cgroups() {
		errs = append(errs, fmt.Errorf("the cgroup %s was left behind", dir), os.Remove(dir))
	}
	if len(s.mounts()) > 0 { // never delete through a mount
		return errors.Join(errs...)
	}
	for _, dir := range []string{s.bundles, s.state} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// cgroups returns the groups that carry our name, the deepest first.
func (s *scratch) cgroups() []string {
	const root = "/sys/fs/cgroup"
	var found []string
	for _, top := range []string{root, root + "/*"} {
		own, _ := filepath.Glob(filepath.Join(top, s.name))
		held, _ := filepath.Glob(filepath.Join(top, s.name+"-held-*"))
		for _, match := range append(own, held...) {
			filepath.WalkDir(match, func(path string, entry fs.DirEntry, err error) error { //nolint:errcheck // what vanishes need not be removed
				if err == nil && entry.IsDir() {
					found = append(found, path)
				}
				return nil
			})
		}
	}
	slices.Reverse(found)
	return found
}

// mounts returns the mount points below the directories, the latest first.
func (s *scratch) mounts() []string {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer file.Close()
	var found []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		dir, ok := mountPoint(lines.Text())
		if ok && (below(dir, s.bundles) || below(dir, s.state)) {
			found = append(found, dir)
		}
	}
	slices.Reverse(found)
	return found
}

// mountPoint reads the fifth field of a line of mountinfo (proc(5)). Octal
// escapes stay: our own names need none.
func mountPoint(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return "", false
	}
	return fields[4], true
}

func below(path, dir string) bool { return dir != "" && strings.HasPrefix(path, dir+"/") }

// defaultStateDir is where runtimes keep their state, as long as that is in
// memory, as it is on all usual systems.
func defaultStateDir() string {
	for _, dir := range []string{"/run", "/dev/shm"} {
		if onTmpfs(dir) {
			return dir
		}
	}
	return os.TempDir()
}

func onTmpfs(dir string) bool {
	var info unix.Statfs_t
	return unix.Statfs(dir, &info) == nil && info.Type == unix.TMPFS_MAGIC
}
