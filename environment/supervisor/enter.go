package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/cleanup"
)

// privateDir is a directory of the environment's on which a tmpfs is mounted in
// the supervisor's mount namespace: from outside it is empty.
const privateDir = "private"

func (s *supervisor) private(name ...string) string {
	return filepath.Join(append([]string{s.paths.Dir, privateDir}, name...)...)
}

// enter makes the namespaces of this process the environment's own. The order is
// that of need.
func (s *supervisor) enter(undo *cleanup.Stack) (err error) {
	if os.Getpid() != 1 {
		return errors.New("cannot supervise an environment: this process is not PID 1 of a namespace of its own; use sandboxrun env")
	}
	// Before the first mount, or that would be seen on the host.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// /proc of the host names other processes: libcontainer and netlink look up
	// themselves there.
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := os.Mkdir(s.private(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory of secrets: %w", err)
	}
	// What is in it never touches a disk: it has secrets.
	if err := mount("tmpfs", s.private(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=64m"); err != nil {
		return err
	}
	for _, dir := range []string{grantsDir, filesDir, subpathsDir, notifyDir} {
		if err := os.Mkdir(s.private(dir), 0o700); err != nil {
			return fmt.Errorf("make private directory: %w", err)
		}
	}
	if s.notifyDir, err = os.Open(s.private(notifyDir)); err != nil {
		return err
	}
	undo.Push(s.notifyDir.Close)
	return nil
}

// Directories in the private one.
const (
	grantsDir   = "grants"   // INSTANCE/NUMBER: secrets and configs
	filesDir    = "files"    // INSTANCE/: resolv.conf and hosts
	subpathsDir = "subpaths" // INSTANCE.NUMBER: parts of volumes
	notifyDir   = "notify"   // INSTANCE: sockets for sd_notify
)

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return &os.PathError{Op: "mount", Path: target, Err: err}
	}
	return nil
}
