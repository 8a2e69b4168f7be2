package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/cleanup"
)

// RestoreOptions says how a checkpoint comes back to life.
type RestoreOptions struct {
	CRIUOptions

	// LSMProfile is the security label that the program gets in place of its old
	// one, as TYPE:NAME.
	LSMProfile string
	// LSMMountContext is the SELinux context of its mounts in place of the old.
	LSMMountContext string
}

// Restore makes a container whose program goes on where Container.Checkpoint
// saved it. It belongs to nobody from then on and stays until Delete. On failure
// nothing is left but CRIU's log, restore.log, in the work directory.
//
// The spec has to be that of the checkpoint; its process is not started. opts
// beyond the ID, the bundle, the streams and PidFile count as far as they change
// the container's mounts and cgroups.
func (r *Runtime) Restore(ctx context.Context, opts CreateOptions, from RestoreOptions) (*Container, error) {
	if err := opts.restoreFrom(ctx, &from); err != nil {
		return nil, err
	}
	return r.Create(opts)
}

// RunRestored is Run for a container that is restored: it supervises it, reports
// on its life from the restore on, and removes it. The container dies with the
// calling process as one of Run's does.
func (r *Runtime) RunRestored(ctx context.Context, opts RunOptions, from RestoreOptions) (*Report, error) {
	if err := opts.restoreFrom(ctx, &from); err != nil {
		return FailedStart(opts.ID, opts.Bundle, err), err
	}
	return r.Run(ctx, opts)
}

// restoreFrom checks what can be checked before anything is made.
func (o *CreateOptions) restoreFrom(ctx context.Context, from *RestoreOptions) error {
	if err := from.check(ctx); err != nil {
		return fmt.Errorf("cannot restore container %q: %w", o.ID, err)
	}
	if o.Spec != nil && !hasNamespace(o.Spec, specs.MountNamespace) {
		return fmt.Errorf("cannot restore container %q: %w", o.ID, errHostMounts)
	}
	// The PID 1 of ours is one of the saved processes, if there was one.
	o.Init = false
	o.restore = from
	return nil
}

func (o *RestoreOptions) check(ctx context.Context) error {
	if err := requireCRIU(ctx); err != nil {
		return err
	}
	if o.ImageDir == "" {
		return errNoImageDir
	}
	if err := checkAbsolute(o.ImageDir, o.WorkDir); err != nil {
		return err
	}
	if _, err := rootCore(o.ImageDir); err != nil {
		return err
	}
	return makePrivateDir(o.logDir())
}

// adaptRestored makes libcontainer do for a restored container what it does for
// a new one only in its init. CRIU makes an empty network namespace.
func adaptRestored(config *configs.Config) {
	for _, name := range []configs.HookName{configs.Prestart, configs.CreateRuntime} {
		for i, hook := range config.Hooks[name] {
			config.Hooks[name][i] = configs.NewFunctionHook(elsewhere(hook))
		}
	}
	if !config.Namespaces.IsPrivate(configs.NEWNET) {
		return
	}
	if config.Hooks == nil {
		config.Hooks = configs.Hooks{}
	}
	first := configs.NewFunctionHook(func(state *specs.State) error { return setUpNetwork(state.Pid, config.Sysctl) })
	config.Hooks[configs.Prestart] = append(configs.HookList{first}, config.Hooks[configs.Prestart]...)
}

// elsewhere runs a hook on another thread than restoreAlone's, in the mount
// namespace of the runtime.
func elsewhere(hook configs.Hook) func(*specs.State) error {
	return func(state *specs.State) error {
		done := make(chan error, 1)
		go func() { done <- hook.Run(state) }()
		return <-done
	}
}

// setUpNetwork brings lo up and sets the network's sysctls in the network
// namespace of a process.
func setUpNetwork(pid int, sysctls map[string]string) error {
	return onThrowAwayThread(func() error { return joinAndSetUpNetwork(pid, sysctls) })
}

func joinAndSetUpNetwork(pid int, sysctls map[string]string) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	if err := bringUpLoopback(); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	for key, value := range sysctls {
		if !strings.HasPrefix(key, "net.") {
			continue
		}
		// Of the host's proc, which shows this thread's network.
		if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %s: %w", key, err)
		}
	}
	return nil
}

// bringUpLoopback is netdevice(7): SIOCSIFFLAGS.
func bringUpLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return os.NewSyscallError("ioctl(SIOCGIFFLAGS)", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}

// restoration is how a restored process came to be.
type restoration struct {
	options *RestoreOptions
	owner   ownership
}

// startRestored is what start does for a process that is restored.
func (c *Container) startRestored(p *Process, undo *cleanup.Stack) error {
	if p.restored.owner == detached && isNull(p.lp.Stdin) {
		if err := p.giveEmptyInput(); err != nil {
			return err
		}
	}
	if err := c.restore(p); err != nil {
		return err
	}
	undo.Push(p.killAndReap)
	// libcontainer's own handle does not know when the process was started, and
	// takes it for another.
	fresh, err := c.runtime.Load(c.id)
	if err != nil {
		return err
	}
	c.lc = fresh.lc
	// Without our end, the wait for a terminal that CRIU has not sent ends.
	if err := closeAll(&p.streams.childEnds); err != nil {
		return err
	}
	if err := p.streams.started(); err != nil {
		if p.streams.terminal != nil {
			return explained{"cannot restore: the spec asks for a terminal and the saved program has none; correct process.terminal (" + err.Error() + ")", err}
		}
		return err
	}
	return nil
}

// isNull reports whether a stream would be the host's /dev/null.
func isNull(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return true
	}
	var have, null unix.Stat_t
	return unix.Fstat(int(file.Fd()), &have) == nil && unix.Stat("/dev/null", &null) == nil &&
		have.Mode&unix.S_IFMT == unix.S_IFCHR && have.Rdev == null.Rdev
}

// giveEmptyInput replaces the host's /dev/null, which is as empty. A program
// that got it in place of the pipe that it had could not be saved once more,
// since the file is on no mount of its own.
func (p *Process) giveEmptyInput() error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make an empty input: %w", err)
	}
	p.lp.Stdin = reader
	p.streams.childEnds = append(p.streams.childEnds, reader)
	return writer.Close()
}

// restore lets CRIU make the container's first process, a child of ours. It does
// so on a thread of its own, for two reasons.
//
// libcontainer mounts the root filesystem below its state directory and the
// spec's bind mounts at the root filesystem. In a mount namespace that is the
// thread's own they end with us, also by SIGKILL. Anywhere else they would stay,
// and whoever removed the state directory then would empty the root filesystem.
//
// The parent death signal comes when this thread ends. It waits for the process.
func (c *Container) restore(p *Process) error {
	done := make(chan error, 1)
	go onThrowAwayThread(func() error { //nolint:errcheck // done has it
		err := c.restoreAlone(p)
		done <- err
		if err == nil && p.restored.owner == supervised {
			awaitEnd(p)
		}
		return err
	})
	return <-done
}

// restoreAlone changes the calling thread for good.
func (c *Container) restoreAlone(p *Process) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// What the host mounts later still comes through.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "make slave", Path: "/", Err: err}
	}
	from := p.restored.options
	if err := c.coverCore(p.restored); err != nil {
		return fmt.Errorf("cannot restore: %w", err)
	}
	request := from.libcontainer()
	request.LsmProfile = from.LSMProfile
	request.LsmMountContext = from.LSMMountContext
	began := time.Now()
	if err := c.runtime.keepCgroupOptions(request.LazyPages, func() error { return c.lc.Restore(p.lp, request) }); err != nil {
		if errors.Is(err, unix.EBADF) && p.lp.ConsoleSocket == nil {
			return explained{"cannot restore: the saved program has a terminal and the spec asks for none; correct process.terminal", err}
		}
		err = explainCRIU(err, filepath.Join(from.logDir(), "restore.log"), began)
		return fmt.Errorf("cannot restore from %q: %w", from.ImageDir, err)
	}
	return nil
}

// coverCore puts the core image as this restore needs it over the saved one, for
// this thread's mount namespace only. A link in another directory would not do:
// CRIU reads images when it has changed its root already.
func (c *Container) coverCore(how *restoration) error {
	death := syscall.Signal(0)
	if how.owner == supervised {
		death = sigKill
	}
	path, image, err := adaptedCore(how.options.ImageDir, death)
	if err != nil {
		return err
	}
	cover := filepath.Join(c.runtime.stateDir(c.id), "core.img")
	if err := os.WriteFile(cover, image, 0o600); err != nil {
		return err
	}
	if err := unix.Mount(cover, path, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "cover", Path: path, Err: err}
	}
	return os.Remove(cover)
}

// awaitEnd leaves the process for its waiter to reap.
func awaitEnd(p *Process) {
	pid, err := p.lp.Pid()
	for err == nil {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
		err = nil
	}
}
