package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/exeseal"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"

	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/nsinit"
)

// CreateOptions says what container to make.
type CreateOptions struct {
	// ID names the container under its root; see ValidID.
	ID string
	// Bundle is the absolute directory that relative paths of Spec start from.
	Bundle string
	// Spec is the container's specification, valid by package bundles. It is
	// not changed.
	Spec *specs.Spec

	ProcessOptions

	// ConfigFile is the path of the file that Spec was read from, for whoever
	// runs more processes later; "" means config.json in the bundle.
	ConfigFile string
	// Activation is passed on to the program.
	Activation Activation
	// NotifySocket is the address of the caller's service manager, as in the
	// environment variable NOTIFY_SOCKET; the program gets a socket of its own,
	// and Run and StartNotified pass on what it says. "" is none.
	NotifySocket string

	// Init puts a small PID 1 before the program that forwards signals and
	// reaps orphans.
	Init bool
	// NoPivot moves the root filesystem by MS_MOVE where pivot_root(2) cannot
	// be used, as on an initramfs. It is less safe.
	NoPivot bool
	// restore is not nil for a container that comes from a checkpoint.
	restore *RestoreOptions
	// prepared is called once the container exists on disk, before its first
	// process.
	prepared func(*Container)
	// callerIsInit: see RunOptions.CallerIsInit.
	callerIsInit bool
	// hooks ends those of the creation that hang; nil is never.
	hooks context.Context //nolint:containedctx // of the call that these are the options of
	// NoNewKeyring lets the program share the caller's session keyring.
	NoNewKeyring bool
}

// Create makes a container whose program waits for Container.Start. It belongs
// to nobody from then on and stays until Delete. On failure nothing is left.
//
// The error wraps ErrExists if the ID is taken; a *StartError tells a program
// that is missing or not executable.
func (r *Runtime) Create(opts CreateOptions) (*Container, error) {
	return r.CreateContext(context.Background(), opts)
}

// CreateContext is Create that fails when ctx ends, also where a hook or a file
// system keeps it waiting.
func (r *Runtime) CreateContext(ctx context.Context, opts CreateOptions) (*Container, error) {
	guard := &startGuard{}
	if ctx.Done() != nil {
		opts.hooks = ctx
		opts.prepared = func(c *Container) { guard.watch(ctx, c) }
	}
	c, err := r.create(&opts, detached)
	guard.end()
	if guard.stopped == 0 {
		if err != nil {
			return nil, err
		}
		return c, c.releaseLock()
	}
	stopped := fmt.Errorf("cannot create container %q: %w", opts.ID, context.Cause(ctx))
	if err == nil {
		// It was killed when it was complete already.
		err = errors.Join(c.killAndDestroy(), c.removeLock())
		if err != nil {
			return nil, errors.Join(stopped, err)
		}
	}
	return nil, stopped
}

// ownership says who removes a container in the end.
type ownership bool

const (
	detached   ownership = true
	supervised ownership = false
)

// create makes the container up to its blocked first process. The returned
// container holds the lock on its ID.
//
// A supervised container gets SIGKILL when the calling thread ends, so the
// caller must have locked the goroutine to it, unless it is an init.
func (r *Runtime) create(opts *CreateOptions, owner ownership) (_ *Container, retErr error) {
	var undo cleanup.Stack
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, undo.Unwind())
		}
	}()

	opts, err := r.withNotify(withActivation(opts))
	if err != nil {
		return nil, err
	}
	c, err := r.prepare(opts, owner, &undo)
	if err != nil {
		return nil, err
	}
	if opts.prepared != nil {
		opts.prepared(c)
	}
	if err := c.startInit(opts, owner, &undo); err != nil {
		return nil, err
	}
	if opts.PidFile != "" {
		if err := c.init.writePidFile(opts.PidFile); err != nil {
			return nil, err
		}
	}
	undo.Release()
	return c, nil
}

// prepare makes what exists on disk before any process: lock, state directory
// and owner record.
func (r *Runtime) prepare(opts *CreateOptions, owner ownership, undo *cleanup.Stack) (*Container, error) {
	if !ValidID(opts.ID) {
		return nil, fmt.Errorf("cannot name a container %q: %w; use ASCII letters, digits, \"_\", \"+\", \"-\" and \".\", at most %d",
			opts.ID, ErrInvalidID, maxIDLength)
	}
	if err := checkSpec(opts); err != nil {
		return nil, err
	}
	config, err := r.containerConfig(opts)
	if err != nil {
		return nil, err
	}
	root, err := adaptHostRoot(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create container %q: %w", opts.ID, err)
	}
	if owner == supervised && !opts.callerIsInit {
		config.ParentDeathSignal = int(sigKill)
	}
	if err := r.makeRoot(); err != nil {
		return nil, err
	}

	lock, err := r.lockNewID(opts.ID)
	if err != nil {
		return nil, err
	}
	undo.Push(lock.Remove)

	profile := takeLateSeccomp(config)
	lc, err := libcontainer.Create(r.containersDir(), opts.ID, config)
	if err != nil {
		return nil, fmt.Errorf("cannot create container %q: %w", opts.ID, explainLibcontainer(err))
	}
	undo.Push(func() error { return os.RemoveAll(r.stateDir(opts.ID)) })
	if err := r.saveLateSeccomp(opts.ID, profile); err != nil {
		return nil, fmt.Errorf("container %q: %w", opts.ID, err)
	}
	if err := r.makeNotifyDir(opts); err != nil {
		return nil, fmt.Errorf("container %q: %w", opts.ID, err)
	}

	state, err := lc.State()
	if err != nil {
		return nil, fmt.Errorf("read state of container %q: %w", opts.ID, err)
	}
	if r.cfg.NoCgroups {
		forgetCgroups(state)
	}
	rec := record{Detached: owner == detached, Bundle: opts.Bundle, Config: opts.ConfigFile, Init: opts.Init, Cgroups: state.CgroupPaths, Hooks: hooksOf(opts.Spec), HostRoot: root}
	if err := r.writeRecord(opts.ID, rec); err != nil {
		return nil, fmt.Errorf("cannot record the owner of container %q: %w", opts.ID, err)
	}
	undo.Push(root.remove)
	if err := root.prepare(); err != nil {
		return nil, fmt.Errorf("prepare root filesystem of container %q: %w", opts.ID, err)
	}
	if root != nil {
		r.log.Warn("the spec has no mount namespace: the container's mounts are the host's until it is deleted", "rootfs", root.Path)
	}
	return &Container{runtime: r, id: opts.ID, lc: lc, lock: lock, cgroups: rec.Cgroups, seccomp: profile, ofInit: opts.callerIsInit}, nil
}

// passingLock is longer than GC or another creator that fails holds the lock of
// an ID that is free.
const passingLock = 200 * time.Millisecond

// lockNewID takes the lock of an ID that is to be used. What a dead owner left
// under it is removed first.
func (r *Runtime) lockNewID(id string) (*lockfile.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), passingLock)
	defer cancel()
	lock, err := lockfile.Acquire(ctx, r.lockPath(id))
	if errors.Is(err, lockfile.ErrHeld) {
		return nil, fmt.Errorf("cannot create container %q: %w; give another ID or stop that one", id, ErrExists)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock container %q: %w", id, err)
	}
	if _, err := os.Lstat(r.stateDir(id)); errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	removeCtx, cancelRemove := removalContext()
	defer cancelRemove()
	removed, err := r.removeAbandoned(removeCtx, id)
	if err == nil && !removed {
		err = fmt.Errorf("cannot create container %q: %w; give another ID or run sandboxrun delete %s", id, ErrExists, id)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return lock, nil
}

// startInit starts the container's first process up to the exec fifo.
func (c *Container) startInit(opts *CreateOptions, owner ownership, undo *cleanup.Stack) error {
	process, err := c.newContainerProcess(opts.Spec.Process, &opts.ProcessOptions)
	if err != nil {
		return err
	}
	process.lp.Init = true
	process.hooked = opts.Spec.Hooks != nil && len(opts.Spec.Hooks.StartContainer) > 0
	if opts.restore != nil {
		process.restored = &restoration{options: opts.restore, owner: owner}
	}
	process.lp.Env = withoutWaiting(process.lp.Env, c.lc.Config().Rootfs)
	if opts.Init {
		closeExe, err := c.addPID1(process, opts)
		if err != nil {
			return err
		}
		defer closeExe()
		undo.Push(func() error { process.closePID1(); return nil })
	}
	if opts.restore != nil {
		c.seccomp = nil // CRIU restores filters
	}
	if err := c.loadLate(process, c.seccomp, undo); err != nil {
		return fmt.Errorf("container %q: %w", c.id, err)
	}
	c.init = process
	// Also where the start fails: libcontainer leaves its state directory then,
	// and cgroups where their removal was late.
	undo.Push(c.destroyState)

	began := time.Now()
	if err := c.start(process, opts.Spec.Process.Terminal, &opts.ProcessOptions, owner, undo); err != nil {
		if hasNamespace(opts.Spec, specs.UserNamespace) {
			err = explainUserNamespace(err, "/proc/sys")
		}
		return fmt.Errorf("container %q: %w", c.id, err)
	}
	if err := c.giveCgroup(); err != nil {
		return fmt.Errorf("container %q: %w", c.id, err)
	}
	c.runtime.log.Debug("created", slog.String("id", c.id), slog.Duration("took", time.Since(began)))
	return nil
}

// addPID1 puts nsinit's PID 1 before the program. The descriptors it needs
// come after all others, so that the program finds its own where it expects
// them.
func (c *Container) addPID1(process *Process, opts *CreateOptions) (func(), error) {
	if !slices.ContainsFunc(opts.Spec.Mounts, func(m specs.Mount) bool { return m.Type == "proc" }) {
		return nil, fmt.Errorf("cannot use --init in container %q: the spec mounts no proc, from which PID 1 is started; add the mount", c.id)
	}
	exe, err := exeseal.CloneSelfExe(c.runtime.stateDir(c.id))
	if err != nil {
		return nil, fmt.Errorf("seal PID 1 of container %q: %w", c.id, err)
	}
	reports, writer, err := nsinit.NewPID1Socket()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make report socket of container %q: %w", c.id, err), exe.Close())
	}
	lp := process.lp
	exeFD := 3 + len(lp.ExtraFiles)
	lp.ExtraFiles = append(lp.ExtraFiles, exe, writer)
	lp.Args = nsinit.PID1Args(exeFD, exeFD+1, lp.Args)
	process.pid1 = reports
	return func() { exe.Close(); writer.Close() }, nil
}

// logrusLevel is the level at which the container's init is to log.
func logrusLevel(log *slog.Logger) logrus.Level {
	if log.Enabled(context.Background(), slog.LevelDebug) {
		return logrus.DebugLevel
	}
	return logrus.InfoLevel
}
