package runtime

import (
	"errors"

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
	// ErrWrongState: the container's state does not allow the operation.
	ErrWrongState = errors.New("wrong container state")
	// ErrNewerState: the state on disk was written by a newer sandboxrun.
	ErrNewerState = errors.New("state was written by a newer sandboxrun")
)

// errNotExecuted is why a StartError came after everything was ready.
var errNotExecuted = errors.New("execve refused it")

// StartError says that the program could not be started although the sandbox
// was sound: it is missing inside, or may not be executed.
type StartError struct {
	Program  string // args[0] of the spec
	ExitCode int    // as a shell gives it: 127 not found, 126 not executable
	Err      error  // what libcontainer said
}

func (e *StartError) Error() string {
	what := "it does not exist in the root filesystem; check process.args and process.env PATH"
	switch {
	case errors.Is(e.Err, errNotExecuted):
		what = "the kernel cannot execute it, as the program's stderr says; check its architecture, its interpreter and process.user"
	case e.ExitCode == exitNotExecutable:
		what = "it is not executable by the sandbox's user; check its mode and process.user"
	}
	return "cannot start \"" + e.Program + "\": " + what
}

func (e *StartError) Unwrap() error { return e.Err }
