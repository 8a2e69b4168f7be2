package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/nsinit"
)

// A seccomp profile under which libcontainer could not do what it does after it
// has loaded one without noNewPrivileges is kept from libcontainer, and from its
// state. It is in this file of the container's state directory, and every process
// of the container loads it as nsinit.LateSeccomp tells.
const lateSeccompName = "seccomp.json"

func (r *Runtime) lateSeccompPath(id string) string {
	return filepath.Join(r.stateDir(id), lateSeccompName)
}

// earlyCalls are the system calls that libcontainer cannot do without between
// an early load and the point of a late one (libcontainer/init_linux.go,
// finalizeNamespace).
var earlyCalls = []string{"capget", "chdir", "faccessat2", "getcwd", "getppid", "newfstatat", "prctl", "read", "setgid", "setgroups", "setuid"}

// lateCalls are those that nsinit and libcontainer do after a late one.
var lateCalls = []string{"capset", "close", "execve", "fcntl", "fstat", "fstatfs", "getdents64", "openat", "write"}

// takeLateSeccomp takes out of config a profile that has to be loaded late, nil
// for any other. What forbids even that is left to fail in libcontainer.
func takeLateSeccomp(config *configs.Config) *configs.Seccomp {
	profile := config.Seccomp
	if profile == nil || config.NoNewPrivileges || allows(profile, earlyCalls) || !allows(profile, lateCalls) {
		return nil
	}
	notify := profile.DefaultAction == configs.Notify || slices.ContainsFunc(profile.Syscalls, func(call *configs.Syscall) bool { return call.Action == configs.Notify })
	if notify {
		// libcontainer passes the listener on to the agent.
		return nil
	}
	config.Seccomp = nil
	return profile
}

// allows reports whether a profile allows every one of some system calls
// whatever the arguments.
func allows(profile *configs.Seccomp, calls []string) bool {
	allowed := make(map[string]bool, len(calls))
	for _, name := range calls {
		allowed[name] = permits(profile.DefaultAction)
	}
	for _, rule := range profile.Syscalls {
		if _, asked := allowed[rule.Name]; asked && rule.Action != profile.DefaultAction {
			// libcontainer skips a rule of the default action, whatever its
			// arguments.
			allowed[rule.Name] = permits(rule.Action) && (len(rule.Args) == 0 || allowed[rule.Name])
		}
	}
	for _, is := range allowed {
		if !is {
			return false
		}
	}
	return true
}

func permits(action configs.Action) bool { return action == configs.Allow || action == configs.Log }

func (r *Runtime) saveLateSeccomp(id string, profile *configs.Seccomp) error {
	if profile == nil {
		return nil
	}
	data, err := json.Marshal(profile)
	if err != nil {
		return fmt.Errorf("encode seccomp profile: %w", err)
	}
	return atomicfile.WriteVolatile(r.lateSeccompPath(id), data, 0o600)
}

// readLateSeccomp returns nil for a container whose profile libcontainer loads,
// or that has none.
func (r *Runtime) readLateSeccomp(id string) (*configs.Seccomp, error) {
	path := r.lateSeccompPath(id)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	profile := new(configs.Seccomp)
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, fmt.Errorf("read seccomp profile %q: %w", path, err)
	}
	return profile, nil
}

// loadContainersSeccompLate is for one more process of the container.
func (c *Container) loadContainersSeccompLate(process *Process, undo *cleanup.Stack) error {
	if c.lc.Config().Seccomp != nil {
		return nil
	}
	profile, err := c.runtime.readLateSeccomp(c.id)
	if err != nil {
		return err
	}
	return c.loadLate(process, profile, undo)
}

// lateSeccomp are this side's ends of what init gets to load a profile. A nil
// one is that of a process to which nothing of this applies.
type lateSeccomp struct {
	file   *os.File // nil after the fork, like init's end of the pipe
	writer *os.File
	reader *os.File
}

// loadLate makes process load the profile itself. Its descriptors come after
// all others, so that the program finds its own where it expects them.
func (c *Container) loadLate(process *Process, profile *configs.Seccomp, undo *cleanup.Stack) error {
	if profile == nil {
		return nil
	}
	lp := process.lp
	order := nsinit.LateSeccomp{Profile: profile}
	capabilities := lp.Capabilities
	if capabilities == nil {
		capabilities = c.lc.Config().Capabilities
	}
	if capabilities != nil && !slices.Contains(capabilities.Permitted, "CAP_SYS_ADMIN") {
		more := *capabilities
		more.Permitted = append(slices.Clone(more.Permitted), "CAP_SYS_ADMIN")
		lp.Capabilities = &more
		order.DropSysAdmin = true
	}
	data, err := order.Encode()
	if err != nil {
		return err
	}
	file, err := sealedFile("sandboxrun-seccomp", data)
	if err != nil {
		return fmt.Errorf("pass on seccomp profile: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("pass on seccomp profile: %w", err), file.Close())
	}
	process.late = &lateSeccomp{file, writer, reader}
	undo.Push(process.late.close)
	lp.LogLevel = nsinit.LateSeccompLogLevel(3 + len(lp.ExtraFiles))
	lp.ExtraFiles = append(lp.ExtraFiles, file, writer)
	return nil
}

// sealedFile returns a file without a name that nobody can change. The caller
// closes it.
func sealedFile(name string, data []byte) (_ *os.File, retErr error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer func() {
		if retErr != nil {
			file.Close()
		}
	}()
	if _, err := file.Write(data); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return file, nil
}

// closeInits closes what only init needs.
func (l *lateSeccomp) closeInits() {
	if l != nil && l.file != nil {
		l.file.Close()
		l.writer.Close()
		l.file, l.writer = nil, nil
	}
}

// close closes everything; it may be called again.
func (l *lateSeccomp) close() error {
	l.closeInits()
	if l != nil && l.reader != nil {
		l.reader.Close()
		l.reader = nil
	}
	return nil
}

// explain prefers what init says of its end to what libcontainer makes of it.
func (l *lateSeccomp) explain(err error) error {
	if l == nil {
		return err
	}
	l.closeInits()
	if answer, readErr := io.ReadAll(l.reader); readErr == nil && len(answer) > 0 {
		return errors.Join(nsinit.LateSeccompConfirmed(string(answer)), err)
	}
	return err
}

// confirm waits until init has loaded the profile, has failed to, or has come to
// the program without, which must be killed then.
func (l *lateSeccomp) confirm() error {
	if l == nil {
		return nil
	}
	l.closeInits()
	defer l.close() //nolint:errcheck // always nil
	answer, err := io.ReadAll(l.reader)
	if err != nil {
		return fmt.Errorf("load seccomp profile: %w", err)
	}
	return nsinit.LateSeccompConfirmed(string(answer))
}
