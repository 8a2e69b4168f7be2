package nsinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Without process.noNewPrivileges libcontainer loads a seccomp profile before
// it changes the user and verifies the working directory, because loading takes
// CAP_SYS_ADMIN then (seccomp(2)). A profile that forbids what is done in
// between, such as getcwd, makes it fail. For such a profile libcontainer is
// given none, and this file loads it where libcontainer loads one with
// noNewPrivileges, right before the program:
//
//	runtime                                  init
//	  sealed file: LateSeccomp --------------> read before libcontainer begins
//	                                           libcontainer: ..., verify cwd, user, capabilities
//	                                           + CAP_SYS_ADMIN in the permitted set
//	                                           last message -> load, drop CAP_SYS_ADMIN
//	  confirmed <------------------ pipe: ok
//	                                           (created: wait at exec.fifo) exec
//
// It is the same process all the way, with libcontainer's protection from the
// container it is in, and no file of the container is executed before the
// profile holds. CAP_SYS_ADMIN is in no set that survives execve(2)
// (capabilities(7)), so even a failure could not hand it to the program.
//
// What calls this code is libcontainer's last message to its log before the
// exec. If it were not sent any more, runtime would get no "ok" and kill the
// process; and another version than the one whose messages are known is refused
// from the start.

// LateSeccomp is what init has to load by itself. Confirmed reads its answer.
type LateSeccomp struct {
	// Profile has no notify action.
	Profile *configs.Seccomp
	// DropSysAdmin: CAP_SYS_ADMIN was put into the permitted set to load the
	// profile, and is not the program's.
	DropSysAdmin bool
}

// libcontainerVersion is the version that has lastMessages.
const libcontainerVersion = "v1.5.2"

// lastMessages are what libcontainer says after it has finished with user,
// capabilities and working directory, at create and at exec.
var lastMessages = []string{
	"init: closing the pipe to signal completion",
	"setns_init: about to exec",
}

// lateSeccompMark is added to the number of a descriptor to make a log level
// that no logger has.
const lateSeccompMark = 1 << 16

const lateSeccompDone = "ok"

// LateSeccompLogLevel is for libcontainer.Process.LogLevel, the only thing that
// libcontainer passes on to init from the beginning: it tells that descriptor fd
// is a file with a LateSeccomp, as [LateSeccomp.Encode] writes it, and fd+1 the
// writing end of a pipe for the answer. The program inherits neither.
func LateSeccompLogLevel(fd int) string { return strconv.Itoa(lateSeccompMark + fd) }

// Encode returns the content of the file for init.
func (l LateSeccomp) Encode() ([]byte, error) {
	if l.Profile == nil {
		return nil, errors.New("encode seccomp profile: there is none")
	}
	data, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode seccomp profile: %w", err)
	}
	return data, nil
}

// LateSeccompConfirmed judges all that came from the pipe: nil only if the
// profile was loaded.
func LateSeccompConfirmed(answer string) error {
	switch answer {
	case lateSeccompDone:
		return nil
	case "":
		return errors.New("load seccomp profile: init did not come to it")
	default:
		return fmt.Errorf("load seccomp profile: %s", answer)
	}
}

// lateLoader is a hook of logrus. It belongs to init's one locked thread.
type lateLoader struct {
	LateSeccomp
	answer int // descriptor
}

// prepareLateSeccomp reads what the log level announces, and restores that.
func prepareLateSeccomp() error {
	fd, announced := announcedDescriptor(os.Getenv("_LIBCONTAINER_LOGLEVEL"))
	if !announced {
		return nil
	}
	// The messages are of this level; the other end drops them.
	level := strconv.Itoa(int(logrus.DebugLevel))
	if err := os.Setenv("_LIBCONTAINER_LOGLEVEL", level); err != nil { //nolint:forbidigo // main has not begun, and libcontainer reads it next
		return err
	}
	loader := lateLoader{answer: fd + 1}
	// Its end, whatever comes, is the end of the answer.
	unix.CloseOnExec(loader.answer)
	if err := loader.prepare(fd); err != nil {
		loader.fail(err)
	}
	return nil
}

// announcedDescriptor undoes LateSeccompLogLevel.
func announcedDescriptor(level string) (fd int, announced bool) {
	number, err := strconv.Atoi(level)
	return number - lateSeccompMark, err == nil && number >= lateSeccompMark
}

func (l *lateLoader) prepare(fd int) error {
	file := os.NewFile(uintptr(fd), "seccomp profile")
	defer file.Close()
	if err := l.decode(file); err != nil {
		return err
	}
	if err := requireKnownLibcontainer(debug.ReadBuildInfo()); err != nil {
		return err
	}
	logrus.AddHook(l)
	return nil
}

func (l *lateLoader) decode(r io.Reader) error {
	if err := json.NewDecoder(r).Decode(&l.LateSeccomp); err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	if l.Profile == nil {
		return errors.New("read it: there is none")
	}
	return nil
}

// requireKnownLibcontainer has to let pass what tells nothing of its modules:
// binaries of go test do not.
func requireKnownLibcontainer(info *debug.BuildInfo, ok bool) error {
	if !ok {
		return nil
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/opencontainers/runc" && (module.Version != libcontainerVersion || module.Replace != nil) {
			return fmt.Errorf("the executable has another libcontainer than %s", libcontainerVersion)
		}
	}
	return nil
}

// Levels implements logrus.Hook.
func (*lateLoader) Levels() []logrus.Level { return []logrus.Level{logrus.DebugLevel} }

// Fire implements logrus.Hook. It does not return an error, which logrus would
// print and forget.
func (l *lateLoader) Fire(entry *logrus.Entry) error {
	if _, done := entry.Logger.Out.(logPipe); !done {
		entry.Logger.SetOutput(logPipe{entry.Logger.Out})
	}
	if !slices.Contains(lastMessages, entry.Message) {
		return nil
	}
	if err := l.load(); err != nil {
		l.fail(err)
	}
	l.tell(lateSeccompDone)
	if err := unix.Close(l.answer); err != nil {
		// It could only be the profile's doing, and the program would have it.
		l.fail(os.NewSyscallError("close", err))
	}
	return nil
}

// logPipe is libcontainer's pipe for messages. Where it fails it closes that
// before its very last one, of which logrus would complain to the user.
type logPipe struct{ io.Writer }

func (p logPipe) Write(message []byte) (int, error) {
	n, err := p.Writer.Write(message)
	if errors.Is(err, os.ErrClosed) {
		return len(message), nil
	}
	return n, err
}

// load does what needs CAP_SYS_ADMIN and gives that up. What comes after the
// profile has to be allowed by it.
func (l *lateLoader) load() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	raised := sets
	// In a container without capabilities of its own there may be none to raise;
	// with no_new_privs none is needed.
	raised[0].Effective |= raised[0].Permitted & sysAdmin
	if err := unix.Capset(&header, &raised[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	listener, err := seccomp.InitSeccomp(l.Profile)
	if err != nil {
		return err
	}
	if listener >= 0 {
		return errors.New("it has a notify action")
	}
	if l.DropSysAdmin {
		sets[0].Permitted &^= sysAdmin
		sets[0].Effective &^= sysAdmin
	}
	// The kernel takes from the ambient set what leaves the permitted one.
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("%w: it forbids what drops the right to load it", os.NewSyscallError("capset", err))
	}
	return nil
}

const sysAdmin = 1 << unix.CAP_SYS_ADMIN

// fail ends init with a reason.
func (l *lateLoader) fail(err error) {
	l.tell(err.Error())
	os.Exit(1)
}

func (l *lateLoader) tell(answer string) {
	unix.Write(l.answer, []byte(answer)) //nolint:errcheck // no answer is an answer
}
