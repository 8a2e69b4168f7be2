package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/nsinit"
)

// ProcessOptions connect a process with the world outside its container.
type ProcessOptions struct {
	// Stdin, Stdout and Stderr are the program's streams where its spec asks
	// for no terminal. Nil means /dev/null. A detached process gets files as
	// they are; one that is waited for by Run or Exec gets pipes, so that it
	// never holds a descriptor of the caller's.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// ConsoleSocket is the path of a unix socket to which the master of the
	// program's terminal is sent (SCM_RIGHTS). A detached process with a
	// terminal needs it; another must not have it.
	ConsoleSocket string
	// Console is the same as a connected socket, which stays the caller's.
	Console *os.File
	// PidfdSocket is the path of a unix socket that gets a pidfd of the process.
	PidfdSocket string
	// PidFile gets the decimal process ID as the last step of the start.
	PidFile string
	// ExtraFiles become descriptors 3, 4, … of the program.
	ExtraFiles []*os.File
}

// Process is a process in a container, started by this process of ours. Pid
// and Signal are safe for concurrent use; Wait is for one caller.
type Process struct {
	container string // its ID, for errors
	lp        *libcontainer.Process
	program   string // args[0] of the spec
	streams   *streams
	pid1      *nsinit.PID1Socket // nil without nsinit's PID 1
	belowPID1 int                // the program's process ID, once PID 1 has ended; 0 if unknown
	late      *lateSeccomp
	restored  *restoration // nil for a process that was started
	reaped    bool         // it has ended and was waited for
	hooked    bool         // startContainer hooks run before the program
	parked    bool         // it is waited for without a thread
}

// Pid returns the process ID as the caller sees it.
func (p *Process) Pid() (int, error) {
	pid, err := p.lp.Pid()
	if err != nil {
		return 0, fmt.Errorf("read process ID in container %q: %w", p.container, err)
	}
	return pid, nil
}

// Signal sends a signal to the process. The error wraps os.ErrProcessDone if
// it has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.lp.Signal(sig); err != nil {
		return fmt.Errorf("send %s to process in container %q: %w", sig, p.container, err)
	}
	return nil
}

// ExitStatus is how a program ended: by itself with Code, or by Signal.
type ExitStatus struct {
	// Code is the program's exit code, or 128+n if signal n ended it.
	Code int
	// Signal is 0 if the program exited by itself.
	Signal syscall.Signal
}

// Wait waits for the end of the process and then for the end of its output.
// The error is a *StartError if the kernel refused to execute the program.
func (p *Process) Wait() (ExitStatus, error) {
	status, err := p.wait()
	return status, errors.Join(err, p.streams.drain())
}

func (p *Process) wait() (ExitStatus, error) {
	executed, err := p.waitZombie()
	if err != nil {
		return ExitStatus{}, fmt.Errorf("wait for process in container %q: %w", p.container, err)
	}
	// An ExitError only repeats what the state says.
	state, err := p.lp.Wait()
	if state == nil {
		return ExitStatus{}, fmt.Errorf("wait for process in container %q: %w", p.container, err)
	}
	p.reaped = true
	status := state.Sys().(syscall.WaitStatus)
	// CRIU makes processes by fork, and never by execve.
	if !executed && status.Exited() && p.restored == nil {
		if p.hooked {
			return ExitStatus{}, fmt.Errorf("cannot start %q: a startContainer hook failed, or the kernel refused to execute the program; "+
				"the line about it on the program's stderr says which, and why", p.program)
		}
		return ExitStatus{}, &StartError{Program: p.program, Reason: errNotExecuted.Error(), ExitCode: exitNotExecutable, Err: errNotExecuted}
	}
	if inner, ok := p.readPID1(); ok {
		status = inner
	}
	return exitStatus(status), nil
}

// waitZombie waits until the process has ended and says whether it ever was
// the user's program. An execve that fails after the last handshake with
// libcontainer's init, such as for a missing interpreter, shows nowhere else:
// init prints it on the program's stderr and exits.
func (p *Process) waitZombie() (executed bool, err error) {
	pid, err := p.lp.Pid()
	if err != nil {
		return false, err
	}
	if p.parked {
		err = park(pid)
	} else {
		err = waitOnThread(pid)
	}
	if err != nil {
		return false, err
	}
	flags, err := processFlags(pid)
	return flags&forkedWithoutExec == 0, err
}

// waitOnThread waits for the end of a child and leaves its status. It keeps a
// thread, and is the cheapest way for a process that waits for one child.
func waitOnThread(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// hasBegun reports whether the process is the user's program yet. It says yes when it
// cannot tell.
func (p *Process) hasBegun() bool {
	pid, err := p.lp.Pid()
	if err != nil {
		return true
	}
	flags, err := processFlags(pid)
	return err != nil || p.restored != nil || flags&forkedWithoutExec == 0
}

// forkedWithoutExec is PF_FORKNOEXEC (include/linux/sched.h): set by fork,
// cleared by execve.
const forkedWithoutExec = 0x40

// processFlags reads the ninth field of /proc/PID/stat (proc_pid_stat(5)).
func processFlags(pid int) (uint64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[9-firstStatField], 10, 64)
}

// firstStatField is the number of the first field that statFields returns.
const firstStatField = 3

// statFields returns the fields of /proc/PID/stat that follow the process's
// name. That is the program's own choice and may hold anything.
func statFields(pid int) ([]string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) <= 9 {
		return nil, fmt.Errorf("read state of process %d: %d fields", pid, len(fields))
	}
	return fields, nil
}

func exitStatus(status syscall.WaitStatus) ExitStatus {
	if status.Signaled() {
		return ExitStatus{Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return ExitStatus{Code: status.ExitStatus()}
}

// readPID1 reads what nsinit's PID 1, which has ended, and the program below it
// said; ok is false if there is no such PID 1 or it was killed itself.
func (p *Process) readPID1() (status syscall.WaitStatus, ok bool) {
	if p.pid1 == nil {
		return 0, false
	}
	report := p.pid1.Read()
	p.belowPID1 = report.Program
	p.closePID1()
	return report.Status, report.Ended
}

// isMain says whether a process that has ended was the program or, where there is
// one, nsinit's PID 1, which takes the program with it. It is for after Wait.
func (p *Process) isMain(pid int) bool {
	first, err := p.lp.Pid()
	return err == nil && pid == first || pid == p.belowPID1
}

func (p *Process) closePID1() {
	if p.pid1 != nil {
		p.pid1.Close() //nolint:errcheck // it was read
		p.pid1 = nil
	}
}

// writePidFile writes the process ID; whoever waits for the file never sees an
// empty one.
func (p *Process) writePidFile(path string) error {
	pid, err := p.Pid()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteVolatile(path, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("cannot write pid file %q: %w", filepath.Clean(path), err)
	}
	return nil
}

// newContainerProcess prepares a process of the container; it starts nothing.
func (c *Container) newContainerProcess(spec *specs.Process, opts *ProcessOptions) (*Process, error) {
	lp, err := newProcess(spec)
	if err != nil {
		return nil, err
	}
	lp.LogLevel = strconv.Itoa(int(logrusLevel(c.runtime.log)))
	lp.ExtraFiles = slices.Clone(opts.ExtraFiles)
	return &Process{container: c.id, lp: lp, program: spec.Args[0], parked: c.ofInit}, nil
}

// start connects p's streams and forks it. The first process of a container
// then waits at the exec fifo; any other runs. undo gets what takes that back.
func (c *Container) start(p *Process, terminal bool, opts *ProcessOptions, owner ownership, undo *cleanup.Stack) error {
	streams, err := c.attach(p.lp, terminal, opts, owner)
	if err != nil {
		return err
	}
	p.streams = streams
	undo.Push(streams.abort)
	if p.restored != nil {
		return c.startRestored(p, undo)
	}
	if err := c.fork(p); err != nil {
		return explainStart(p.program, p.late.explain(err))
	}
	undo.Push(p.killAndReap)
	if err := p.late.confirm(); err != nil {
		return err
	}
	return streams.started()
}

// fork starts the process. It inherits the timer slack of the thread that
// forks it, which may be one that Go's own monitor made.
func (c *Container) fork(p *Process) error {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := nsinit.RestoreTimerSlack(); err != nil {
		return err
	}
	return c.lc.Start(p.lp)
}

func (p *Process) killAndReap() error {
	err := p.lp.Signal(sigKill)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	p.lp.Wait() //nolint:errcheck // reaps; nobody wants the status
	p.reaped = true
	return err
}
