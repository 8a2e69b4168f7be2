package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// AddMounts mounts into a container that has not stopped, which may be paused:
// binds, with the options and id mappings of a spec, and tmpfs. A bind's source
// must be absolute. A destination that is missing is made, as at a start. Either
// all are mounted or none.
//
// What a mount shows is taken on the host's side and put in place by descriptors
// below the container's root, so that no link of a hostile program leads out of
// it (CVE-2021-30465). A program that moved to another mount namespace does not
// see the mounts. It takes Linux 5.12. The error wraps ErrNotRunning if the
// container has stopped.
func (c *Container) AddMounts(ctx context.Context, mounts []specs.Mount) error {
	return c.changeMounts(ctx, func(target *mountTarget, known *addedMounts) error {
		trees, err := target.makeTrees(mounts)
		defer closeTrees(trees)
		if err != nil {
			return err
		}
		// Recorded first: an ID that never comes to be in place does no harm.
		before := slices.Clone(known.Mounts)
		for _, t := range trees {
			known.Mounts = append(known.Mounts, addedMount{Destination: t.destination, ID: t.id})
		}
		if err := known.save(); err != nil {
			return err
		}
		if err := target.inside(func(inside *mountSite) error { return inside.attach(trees) }); err != nil {
			known.Mounts = before
			return errors.Join(err, known.save())
		}
		return nil
	})
}

// RemoveMounts removes mounts that AddMounts made, by their destinations. It
// touches no other: a hostile program could lead the way to a mount that masks
// something from it. Where one cannot be removed, those before it are.
func (c *Container) RemoveMounts(ctx context.Context, destinations []string) error {
	return c.changeMounts(ctx, func(target *mountTarget, known *addedMounts) error {
		err := target.inside(func(inside *mountSite) error {
			for _, destination := range destinations {
				if err := inside.detach(destination, known); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, known.save())
	})
}

// mountsLock, in the container's state directory, keeps two changes apart.
const mountsLock = "mounts.lock"

func (c *Container) changeMounts(ctx context.Context, change func(*mountTarget, *addedMounts) error) (retErr error) {
	stateDir := c.runtime.stateDir(c.id)
	lock, err := lockfile.Acquire(ctx, filepath.Join(stateDir, mountsLock))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("change mounts of container %q: %w", c.id, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("wait for another change of mounts of container %q: %w", c.id, err)
	}
	defer func() { retErr = errors.Join(retErr, lock.Release()) }()

	target, err := c.openMountTarget()
	if err != nil {
		return fmt.Errorf("cannot change mounts of container %q: %w", c.id, err)
	}
	defer target.close()
	known, err := loadAddedMounts(filepath.Join(stateDir, mountsName))
	if err != nil {
		return err
	}
	if err := change(target, known); err != nil {
		return fmt.Errorf("container %q: %w", c.id, err)
	}
	return nil
}

// mountsName is the file of a container's state directory with what AddMounts
// made.
const mountsName = "mounts.json"

const mountsVersion = 1

// addedMounts is that file. The kernel gives an ID once (Linux 6.8), so an entry
// whose mount the container has removed itself means nothing any more.
type addedMounts struct {
	Version int          `json:"version"`
	Mounts  []addedMount `json:"mounts"`

	path string
}

type addedMount struct {
	// Destination is as it was asked for.
	Destination string `json:"destination"`
	// ID is the kernel's (statx(2), stx_mnt_id).
	ID uint64 `json:"id"`
}

func loadAddedMounts(path string) (*addedMounts, error) {
	added := &addedMounts{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return added, nil
	}
	if err == nil {
		err = json.Unmarshal(data, added)
	}
	if err != nil {
		return nil, fmt.Errorf("read added mounts: %w", err)
	}
	if added.Version > mountsVersion {
		return nil, fmt.Errorf("cannot read %q: %w; use that version", path, ErrNewerState)
	}
	return added, nil
}

func (a *addedMounts) save() error {
	a.Version = mountsVersion
	data, err := json.Marshal(a)
	if err == nil {
		err = atomicfile.WriteVolatile(a.path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record added mounts: %w", err)
	}
	return nil
}

func (a *addedMounts) has(id uint64) bool {
	return slices.ContainsFunc(a.Mounts, func(m addedMount) bool { return m.ID == id })
}

func (a *addedMounts) forget(id uint64) {
	a.Mounts = slices.DeleteFunc(a.Mounts, func(m addedMount) bool { return m.ID == id })
}

// mountTarget is a container whose mounts are to be changed, held by
// descriptors, so that another process that gets its process ID is not meant.
type mountTarget struct {
	config configs.Config
	pid    int
	pidfd  *os.File
	root   *os.File // its root directory
}

var errOrdinaryUser = errors.New("only root of the host can enter its mount namespace; run as root")

func (c *Container) openMountTarget() (_ *mountTarget, retErr error) {
	t := &mountTarget{config: c.lc.Config()}
	switch {
	case !t.config.Namespaces.Contains(configs.NEWNS):
		return nil, errors.New("it has no mount namespace of its own, so that the mounts would be the host's")
	case os.Geteuid() != 0 || t.config.RootlessEUID:
		return nil, errOrdinaryUser
	}
	state, err := c.lc.State()
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	t.pid = state.InitProcessPid
	defer func() {
		if retErr != nil {
			t.close()
		}
	}()
	if t.pid <= 0 {
		return nil, ErrNotRunning
	}
	pidfd, err := unix.PidfdOpen(t.pid, 0)
	if err != nil {
		return nil, stoppedInstead(os.NewSyscallError("pidfd_open", err))
	}
	t.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	// Compares the start time too, and only then is the descriptor known to be
	// the container's.
	status, err := c.status()
	if err != nil {
		return nil, err
	}
	if status == libcontainer.Stopped {
		return nil, ErrNotRunning
	}
	t.root, err = os.OpenFile("/proc/"+strconv.Itoa(t.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, stoppedInstead(err)
	}
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
		return nil, stoppedInstead(os.NewSyscallError("pidfd_send_signal", err))
	}
	return t, nil
}

// stoppedInstead takes the error of a process that has ended meanwhile.
func stoppedInstead(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return ErrNotRunning
	}
	return err
}

func (t *mountTarget) close() {
	if t.pidfd != nil {
		t.pidfd.Close()
	}
	if t.root != nil {
		t.root.Close()
	}
}
