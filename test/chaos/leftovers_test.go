package chaos_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/egress"
)

// marker is a variable that commands and what they run have.
const marker = "SANDBOXRUN_CHAOS"

// process is a process of an environment that lived when it was looked at.
type process struct {
	pid     int
	started string // as in /proc/PID/stat
	args    []string
	group   string // below the environment's control group; "" outside
}

func (p process) String() string {
	return fmt.Sprintf("process %d %q in group %q", p.pid, p.args, p.group)
}

// kill sends SIGKILL, unless the process has ended: another may have its number.
func (p process) kill() error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if _, started := readStat(p.pid); started != p.started {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// groupPrefix begins the name of every environment's control group.
const groupPrefix = "/sandboxrun-env-"

// processes finds an environment's living processes; a zombie is dead. For a field's
// prefix it finds those of all environments.
func (e *environ) processes() []process {
	var found []process
	for _, name := range namesIn("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, ok := e.recognise(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

// recognise tells whether a process is of the environment.
func (e *environ) recognise(pid int) (process, bool) {
	state, started := readStat(pid)
	if state == "" || state == "Z" || state == "X" {
		return process{}, false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	p := process{pid: pid, started: started}
	cmdline, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, false
	}
	p.args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	ours := slices.ContainsFunc(p.args, e.isName)
	if groups, err := os.ReadFile(dir + "/cgroup"); err == nil {
		for line := range strings.Lines(string(groups)) {
			if _, rest, found := strings.Cut(strings.TrimSpace(line), groupPrefix); found {
				name, group, _ := strings.Cut(rest, "/")
				if e.isName(name) {
					ours, p.group = true, group
				}
			}
		}
	}
	if !ours {
		environ, err := os.ReadFile(dir + "/environ")
		ours = err == nil && slices.ContainsFunc(strings.Split(string(environ), "\x00"), func(variable string) bool {
			value, found := strings.CutPrefix(variable, marker+"=")
			return found && e.isName(value)
		})
	}
	return p, ours
}

// isName is for names of environments and for a field's prefix, which is one of all.
func (e *environ) isName(name string) bool {
	if e.name == e.prefix {
		return strings.HasPrefix(name, e.prefix+"-")
	}
	return name == e.name
}

// readStat returns a process's state and the time of its start; "" if it is gone.
func readStat(pid int) (state, started string) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", ""
	}
	// The fields follow the name, which may contain anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[0], fields[19]
}

// running is an error as long as anything of the environment runs.
func (e *environ) running() error {
	if found := e.processes(); len(found) > 0 {
		return fmt.Errorf("still running: %v", found)
	}
	return nil
}

// leftovers describes everything of the environment that there is.
func (e *environ) leftovers() []string {
	var found []string
	for _, p := range e.processes() {
		found = append(found, p.String())
	}
	for _, dir := range cgroupsNamed(e.name) {
		found = append(found, "cgroup "+dir)
	}
	if e.name != e.prefix { // the field's own directory may be a mount
		for _, line := range mountsOf(e.name) {
			found = append(found, "mount "+line)
		}
	}
	for _, dir := range []string{
		filepath.Join(e.roots.State, "environments"), filepath.Join(e.roots.State, "environment-locks"), filepath.Join(e.roots.Data, "environments"),
		filepath.Join(e.dir, "tmp"), "/tmp", "/run", "/dev/shm", "/var/tmp",
	} {
		for _, name := range namesIn(dir) {
			if e.isName(name) {
				found = append(found, "file "+filepath.Join(dir, name))
			}
		}
	}
	if e.name != e.prefix {
		found = append(found, e.onHost()...)
	}
	return append(found, e.leases()...)
}

// onHost looks for the host's half of egress.
func (e *environ) onHost() []string {
	var found []string
	key := e.roots.Of(e.name).Dir
	if _, err := net.InterfaceByName(egress.InterfaceName(key)); err == nil {
		found = append(found, "interface "+egress.InterfaceName(key))
	}
	var rules nftables.Conn
	tables, err := rules.ListTables()
	if err != nil {
		return append(found, "unknown tables: "+err.Error())
	}
	for _, table := range tables {
		if table.Name == egress.TableName(key) {
			found = append(found, "table "+table.Name)
		}
	}
	return found
}

// leases looks for what bundles of the environment hold in the store. A lease's file has
// its owner's name in it.
func (e *environ) leases() []string {
	var found []string
	for _, dir := range []string{"leases", "bundles/unfinished"} {
		dir := filepath.Join(e.roots.Data, dir)
		for _, name := range namesIn(dir) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && strings.Contains(string(text), "/"+e.name) {
				found = append(found, fmt.Sprintf("%s: %s", filepath.Join(dir, name), text))
			}
		}
	}
	return found
}

// cgroupsNamed returns the control groups of all hierarchies that are an environment's.
// For a field's prefix they are those of all its environments.
func cgroupsNamed(name string) []string {
	var found []string
	//nolint:errcheck // groups of others vanish meanwhile
	filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // gone
		}
		_, its, of := strings.Cut(path, groupPrefix)
		its, _, _ = strings.Cut(its, "/")
		if of && (its == name || !strings.Contains(name, "-") && strings.HasPrefix(its, name+"-")) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// mountsOf returns the lines of mountinfo that have a name in their paths.
func mountsOf(name string) []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/"+name+"/") || strings.Contains(line, "/"+name+" ") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func namesIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// sweep removes what a failed test left, so that it is not the machine's.
func (f *field) sweep() {
	all := f.named(f.prefix)
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		rest := all.processes()
		if len(rest) == 0 {
			break
		}
		for _, dir := range cgroupsNamed(f.prefix) {
			os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0) //nolint:errcheck // v1 only
		}
		for _, p := range rest {
			if err := p.kill(); err != nil {
				f.tb.Error(err)
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	// The records tell what else there is.
	if _, err := all.run("gc"); err != nil {
		f.tb.Log(err)
	}
	groups := cgroupsNamed(f.prefix)
	slices.Reverse(groups)
	for _, dir := range groups {
		os.Remove(dir) //nolint:errcheck // reported already
	}
}
