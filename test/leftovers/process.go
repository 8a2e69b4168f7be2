package leftovers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process that lived when it was looked at.
type Process struct {
	PID     int
	By      string // what it was recognised by
	started string // as in /proc/PID/stat
}

// Processes returns the living processes that recognise says something of, in
// the order of their numbers' texts. A zombie is dead, and the caller is not
// looked at.
func Processes(recognise func(Process) (by string)) []Process {
	var found []Process
	for _, name := range Names("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		state, started := readStat(pid)
		if state == "" || state == "Z" || state == "X" {
			continue
		}
		p := Process{PID: pid, started: started}
		if p.By = recognise(p); p.By == "" {
			continue
		}
		// What was read of it is its own if it lived on meanwhile.
		if state, again := readStat(pid); again == started && state != "Z" && state != "X" {
			found = append(found, p)
		}
	}
	return found
}

// readStat returns a process's state and the time of its start; "" if it is gone.
func readStat(pid int) (state, started string) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", ""
	}
	// The fields follow the name, which may contain anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[0], fields[19]
}

func (p Process) String() string {
	return fmt.Sprintf("process %d %q in %s, known by its %s", p.PID, strings.Join(p.Args(), " "), p.NetworkNamespace(), p.By)
}

// Args are its arguments; none if it is gone.
func (p Process) Args() []string {
	text := strings.TrimSuffix(p.read("cmdline"), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// Groups is its /proc/PID/cgroup.
func (p Process) Groups() string { return p.read("cgroup") }

// NetworkNamespace is the name that the kernel has for its own, such as
// "net:[4026531840]"; "" if it is gone.
func (p Process) NetworkNamespace() string {
	name, err := os.Readlink(p.path("ns/net"))
	if err != nil {
		return ""
	}
	return name
}

// HasVariable tells whether its environment, as it was at its start, has a
// variable with such a value.
func (p Process) HasVariable(name string, value func(string) bool) bool {
	return slices.ContainsFunc(strings.Split(p.read("environ"), "\x00"), func(variable string) bool {
		its, found := strings.CutPrefix(variable, name+"=")
		return found && value(its)
	})
}

// WorksIn tells whether its working directory is dir or below it.
func (p Process) WorksIn(dir string) bool {
	cwd, err := os.Readlink(p.path("cwd"))
	return err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/"))
}

// HasMountsBelow tells whether a process with a mount namespace and a root of
// its own, as in a container, has a mount of or at something below dir. One that
// shares this process's never has: what a test leaves mounted on the host is in
// the tables of all of them, and all would be taken for the test's, and swept.
func (p Process) HasMountsBelow(dir string) bool {
	return p.hasOwnRoot() && strings.Contains(p.read("mountinfo"), dir+"/")
}

func (p Process) hasOwnRoot() bool {
	mine, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	its, err := os.Readlink(p.path("ns/mnt"))
	if err != nil || its == mine {
		return false
	}
	var root, itsRoot unix.Stat_t
	if unix.Stat("/", &root) != nil || unix.Stat(p.path("root/"), &itsRoot) != nil {
		return false
	}
	return root.Dev != itsRoot.Dev || root.Ino != itsRoot.Ino
}

// Is tells whether both are one process, and not two with the same number.
func (p Process) Is(other Process) bool { return p.PID == other.PID && p.started == other.started }

// Kill sends SIGKILL, unless the process has ended: another may have its number.
func (p Process) Kill() error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if _, started := readStat(p.PID); started != p.started {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

func (p Process) path(name string) string { return "/proc/" + strconv.Itoa(p.PID) + "/" + name }

// read returns a file of the process; "" if it is gone.
func (p Process) read(name string) string {
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		return ""
	}
	return string(text)
}
