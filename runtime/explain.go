package runtime

import (
	"fmt"
	"strconv"
	"strings"
)

// Exit codes for a program that could not be started, as shells give them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// explainStart tells a program that is missing or not executable from a
// failure of ours. libcontainer passes errors of the container's init on as
// text (libcontainer/sync.go, initError), so text is all there is to look at;
// a test holds the texts of the pinned version.
func explainStart(program string, err error) error {
	text := err.Error()
	_, reason, found := strings.Cut(text, "exec: "+strconv.Quote(program)+": ")
	if !found {
		return explainLibcontainer(err)
	}
	code := exitNotExecutable
	if strings.Contains(reason, "not found in $PATH") || strings.Contains(reason, "no such file or directory") {
		code = exitNotFound
	}
	return &StartError{Program: program, Reason: reason, ExitCode: code, Err: err}
}

const (
	adviceMemory = "the memory limit is below what starting needs; raise it"
	// adviceKilled is about what libcontainer sees as the end of a pipe.
	adviceKilled = "its first process ended before the program began, as by SIGKILL, or where the kernel is out of memory, which dmesg tells; start it again"
)

// explanations are failures of libcontainer that the user can mend, by a text
// of its errors.
var explanations = []struct{ text, advice string }{
	{"unable to set memory limit to", adviceMemory},
	{"container init was OOM-killed", adviceMemory},
	{"current working directory is safe: getwd: ", "the seccomp profile forbids getcwd, which libcontainer calls under a profile that it has to load early; allow getcwd or set process.noNewPrivileges"},
	{"rootless container requires user namespaces", "an ordinary user can only run a bundle with a user namespace; make one by sandboxrun spec --rootless, or be root"},
	{"unable to start unit", "systemd refuses the container's unit; see linux.cgroupsPath, the limits, and the annotations org.systemd.property.*"},
	{"failed to connect to dbus", "systemd cannot be reached; an ordinary user needs a session or `loginctl enable-linger`, with XDG_RUNTIME_DIR set to /run/user/UID; or leave --systemd-cgroup out"},
	{"can't get final child's PID from pipe: EOF", adviceKilled},
	{"procReady not received", adviceKilled},
	{"unable to store init state", "the filesystem of the state root cannot be written; free some space or give another --root"},
}

// initFailure is how libcontainer introduces all that goes wrong in its init,
// which tells the user nothing.
const initFailure = "unable to start container process: error during container init: "

// explainLibcontainer makes one line of an error of libcontainer's: what the
// user can do about it, where that is known, and no ceremony. The error itself
// stays in the chain.
func explainLibcontainer(err error) error {
	text := withoutProperties(strings.TrimPrefix(err.Error(), initFailure))
	for _, e := range explanations {
		if strings.Contains(text, e.text) {
			return explained{fmt.Sprintf("cannot start: %s (%s)", e.advice, text), err}
		}
	}
	return explained{text, err}
}

type explained struct {
	text string
	err  error
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.err }
