package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

const sigKill = syscall.SIGKILL

// Container is a container known under its runtime's root: one made by
// [Runtime.Create] in this process, or one found by [Runtime.Load]. It stays
// valid while the container exists. Start, Kill and State are safe for
// concurrent use; Wait is for one caller.
type Container struct {
	runtime *Runtime
	id      string
	lc      *libcontainer.Container
	cgroups map[string]string // as in record

	// hooks is for the goroutine that supervises the container.
	hooks hookWatch

	// Only where this process made the container:
	init    *Process
	lock    *lockfile.Lock   // nil once released
	seccomp *configs.Seccomp // the profile to be loaded late, or nil
	ofInit  bool             // see RunOptions.CallerIsInit
}

// ID returns the container's name.
func (c *Container) ID() string { return c.id }

// State is a container's state in the form that runc prints: the state of
// runtime-spec (runtime.md, "State") and some members of runc's.
type State struct {
	// Version is the version of runtime-spec that the container follows.
	Version string `json:"ociVersion"`
	ID      string `json:"id"`
	// Pid is the process ID of the container's first process as the caller
	// sees it, 0 once that has ended.
	Pid int `json:"pid"`
	// Status is creating, created, running, paused or stopped.
	Status string `json:"status"`
	Bundle string `json:"bundle"`
	// Rootfs is the absolute path of the root filesystem on the host.
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	// Annotations are those of the spec.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Owner is the name of the user who owns the state, "#UID" if it has none.
	Owner string `json:"owner"`
}

// State reads the container's present state.
func (c *Container) State() (State, error) {
	status, err := c.status()
	if err != nil {
		return State{}, err
	}
	state, err := c.lc.State()
	if err != nil {
		return State{}, fmt.Errorf("read state of container %q: %w", c.id, err)
	}
	pid := state.InitProcessPid
	if status == libcontainer.Stopped {
		pid = 0
	}
	owner, err := ownerOf(c.runtime.stateDir(c.id))
	if err != nil {
		return State{}, fmt.Errorf("read owner of container %q: %w", c.id, err)
	}
	bundle, annotations := utils.Annotations(state.Config.Labels)
	return State{
		Version:     state.Config.Version,
		ID:          c.id,
		Pid:         pid,
		Status:      status.String(),
		Bundle:      bundle,
		Rootfs:      state.Config.Rootfs,
		Created:     state.Created,
		Annotations: annotations,
		Owner:       owner,
	}, nil
}

func ownerOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	uid := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid))
	if u, err := user.LookupId(uid); err == nil {
		return u.Username, nil
	}
	return "#" + uid, nil
}

// Start lets the program of a created container run. The error wraps
// ErrWrongState if the container is not in that state. If a poststart hook
// fails, the container is removed.
func (c *Container) Start() error { return c.StartContext(context.Background()) }

// StartContext is Start whose poststart hooks end with ctx, as if they had
// failed.
func (c *Container) StartContext(ctx context.Context) error {
	status, err := c.status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Created:
	case libcontainer.Stopped:
		return fmt.Errorf("%w: cannot start a container that has stopped", ErrWrongState)
	case libcontainer.Running:
		return fmt.Errorf("%w: cannot start an already running container", ErrWrongState)
	default:
		return fmt.Errorf("%w: cannot start a container in the %s state", ErrWrongState, status)
	}
	if err := c.lc.Exec(); err != nil {
		return fmt.Errorf("start container %q: %w", c.id, err)
	}
	if err := c.runPoststart(&hookWatch{ctx: ctx}); err != nil {
		ctx, cancel := removalContext()
		defer cancel()
		return errors.Join(fmt.Errorf("start container %q: %w", c.id, err), c.runtime.Delete(ctx, c.id, true))
	}
	return nil
}

// Kill sends a signal to the container's first process; SIGKILL reaches every
// process of a container that shares its PID namespace. The error wraps
// ErrNotRunning if there is none.
func (c *Container) Kill(sig syscall.Signal) error {
	if err := c.lc.Signal(sig); err != nil {
		return fmt.Errorf("send %s to container %q: %w", sig, c.id, err)
	}
	return nil
}

func (c *Container) releaseLock() error {
	lock := c.lock
	c.lock = nil
	if lock == nil {
		return nil
	}
	return lock.Release()
}

// Wait waits for the end of the program of a container that this process
// made, and then for the end of its output. Another process cannot wait; it
// can watch State.
func (c *Container) Wait() (ExitStatus, error) {
	if c.init == nil {
		return ExitStatus{}, fmt.Errorf("cannot wait for container %q: another process made it", c.id)
	}
	return c.init.Wait()
}

// killAndDestroy ends every process of the container and removes it. Its lock
// must be held.
func (c *Container) killAndDestroy() error {
	ctx, cancel := removalContext()
	defer cancel()
	return c.destroy(ctx)
}

func (c *Container) destroy(ctx context.Context) error {
	if c.init == nil || !c.init.reaped {
		if err := c.killAndWait(ctx); err != nil {
			return err
		}
		if c.init != nil {
			c.init.lp.Wait() //nolint:errcheck // reaps; nobody wants the status
		}
	}
	return c.destroyState()
}

// killAndWait ends the first process and with it, by the kernel, its PID
// namespace. A zombie counts as ended: it is its parent's to reap. The status is
// no measure: on v2 it stays "paused" for a frozen group whose processes are
// dead.
func (c *Container) killAndWait(ctx context.Context) error {
	err := c.lc.Signal(sigKill)
	if err != nil && !foundNoProcess(err) {
		return fmt.Errorf("kill container %q: %w", c.id, err)
	}
	return poll(ctx, func() (bool, error) {
		err := c.lc.Signal(syscall.Signal(0))
		if err != nil && !foundNoProcess(err) {
			return false, fmt.Errorf("look for the first process of container %q: %w", c.id, err)
		}
		return err != nil, nil
	})
}

// foundNoProcess reports whether a signal found no process.
func foundNoProcess(err error) bool {
	return errors.Is(err, ErrNotRunning) || errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

// poll calls done until it says so, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	const first, most = time.Millisecond, 50 * time.Millisecond
	for wait := first; ; wait = min(2*wait, most) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// removalTimeout bounds every removal. Ten seconds is what runc allows a killed
// container to end.
const removalTimeout = 10 * time.Second

var errRemovalTimeout = errors.New("the container did not end within " + removalTimeout.String())

// removalContext is for undoing work: what the caller cancelled must be
// cleaned up all the same.
func removalContext() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), removalTimeout, errRemovalTimeout)
}
