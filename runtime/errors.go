package runtime

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runc/libcontainer"
)

// The texts of ErrNotFound and ErrNotRunning are read by containerd's runc
// shim (cmd/containerd-shim-runc-v2/process/utils.go); they are libcontainer's.
var (
	// ErrNotFound: no container of that ID is known under this root.
	ErrNotFound = libcontainer.ErrNotExist
	// ErrExists: the ID is taken, or is being taken right now.
	ErrExists = libcontainer.ErrExist
	// ErrInvalidID: the ID is empty or holds characters other than ASCII
	// letters, digits, "_", "+", "-" and ".".
	ErrInvalidID = libcontainer.ErrInvalidID
	// ErrNotRunning: there is no process to signal.
	ErrNotRunning = libcontainer.ErrNotRunning
	// ErrPaused: the container is paused already.
	ErrPaused = libcontainer.ErrPaused
	// ErrNotPaused: there is nothing to resume.
	ErrNotPaused = libcontainer.ErrNotPaused
	// ErrWrongState: the container's state does not allow the operation.
	ErrWrongState = errors.New("wrong container state")
	// ErrNoCgroup: the container was made without one, or by an ordinary user who
	// had none delegated.
	ErrNoCgroup = errors.New("it has no cgroup of its own")
	// ErrNoCRIU: CRIU, which saves and restores containers, is missing or too old.
	ErrNoCRIU = errors.New("criu is not installed")
	// ErrNewerState: the state on disk was written by a newer sandboxrun.
	ErrNewerState = errors.New("state was written by a newer sandboxrun")
)

// errNotExecuted is why a StartError came after everything was ready.
var errNotExecuted = errors.New("the kernel refused to execute it")

// StartError says that the program could not be started although the sandbox
// was sound: it is missing inside, or may not be executed.
type StartError struct {
	Program  string // args[0] of the spec
	Reason   string // such as "permission denied"
	ExitCode int    // as a shell gives it: 127 not found, 126 not executable
	Err      error  // what libcontainer said
}

// Error keeps the words of the Go library ("executable file not found in $PATH",
// "no such file or directory", "permission denied"): docker's daemon takes its
// own exit code from them (daemon/start.go, setExitCodeFromError).
func (e *StartError) Error() string {
	return fmt.Sprintf("cannot start: exec: %q: %s; %s", e.Program, e.Reason, e.advice())
}

func (e *StartError) advice() string {
	switch {
	case errors.Is(e.Err, errNotExecuted):
		return "the program's stderr says why; check its architecture, its interpreter and process.user"
	case e.ExitCode == exitNotExecutable:
		return "check its mode and process.user"
	default:
		return "check process.args, the PATH in process.env and the root filesystem"
	}
}

func (e *StartError) Unwrap() error { return e.Err }
