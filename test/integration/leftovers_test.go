package integration_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// marker is an environment variable by which processes of a script are found.
const marker = "SANDBOXRUN_TEST_ID"

// leftovers describes everything of the script that exists on the machine.
func (s *sandbox) leftovers() []string {
	var found []string
	for _, p := range s.processes() {
		found = append(found, p.String())
	}
	for _, dir := range cgroupsNamed(s.id) {
		found = append(found, "cgroup "+dir)
	}
	for _, mount := range mountsBelow(s.work) {
		found = append(found, "mount "+mount)
	}
	for _, path := range s.stateFiles() {
		found = append(found, "state "+path)
	}
	for _, dir := range []string{s.tmp, "/tmp", "/run", "/dev/shm", "/var/tmp"} {
		for _, name := range namesIn(dir) {
			if dir == s.tmp || hasName(name, s.id) {
				found = append(found, "temporary file "+filepath.Join(dir, name))
			}
		}
	}
	return found
}

// stateDirs are the directories of the state root that stay, empty.
var stateDirs = []string{"containers", "locks", "environments", "environment-locks"}

// stateFiles lists what is in the state root besides its empty directories, and the
// environments' part of the data root.
func (s *sandbox) stateFiles() []string {
	var found []string
	for _, name := range namesIn(s.root) {
		if !slices.Contains(stateDirs, name) {
			found = append(found, filepath.Join(s.root, name))
			continue
		}
		for _, entry := range namesIn(filepath.Join(s.root, name)) {
			found = append(found, filepath.Join(s.root, name, entry))
		}
	}
	environments := filepath.Join(s.work, ".data", "environments")
	for _, name := range namesIn(environments) {
		found = append(found, filepath.Join(environments, name))
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

// process is a living process and how it was recognised.
type process struct {
	pid     int
	command string
	by      string
	netns   string
}

func (p process) String() string {
	return fmt.Sprintf("process %d %q in %s, known by its %s", p.pid, p.command, p.netns, p.by)
}

// processes finds the script's living processes: supervisors by environment and
// directory, the first steps of a container by directory, a running one by
// cgroup and mounts. A zombie is dead.
func (s *sandbox) processes() []process { return findProcesses(s.id, s.work) }

func findProcesses(id, dir string) []process {
	var found []process
	for _, name := range namesIn("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		by := recognise("/proc/"+name, id, dir)
		if by == "" || isZombie(pid) {
			continue
		}
		command, _ := os.ReadFile("/proc/" + name + "/cmdline")
		netns, _ := os.Readlink("/proc/" + name + "/ns/net")
		text := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
		found = append(found, process{pid, text, by, netns})
	}
	return found
}

func recognise(proc, id, dir string) (by string) {
	if cwd, err := os.Readlink(proc + "/cwd"); err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/")) {
		return "working directory"
	}
	if environ, err := os.ReadFile(proc + "/environ"); err == nil {
		for variable := range bytes.SplitSeq(environ, []byte{0}) {
			if string(variable) == marker+"="+id {
				return "environment"
			}
		}
	}
	if groups, err := os.ReadFile(proc + "/cgroup"); err == nil && hasName(string(groups), id) {
		return "cgroup"
	}
	if mounts, err := os.ReadFile(proc + "/mountinfo"); err == nil && hasOwnRoot(proc) && strings.Contains(string(mounts), dir+"/") {
		return "mounts"
	}
	return ""
}

// hasOwnRoot tells whether a process has another mount namespace and another
// root than this one. A script that leaves a mount on the machine leaves it in
// every process's table: without this, all of them would be taken for the
// script's, and swept.
func hasOwnRoot(proc string) bool {
	mine, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	its, err := os.Readlink(proc + "/ns/mnt")
	if err != nil || its == mine {
		return false
	}
	var root, itsRoot unix.Stat_t
	if unix.Stat("/", &root) != nil || unix.Stat(proc+"/root/", &itsRoot) != nil {
		return false
	}
	return root.Dev != itsRoot.Dev || root.Ino != itsRoot.Ino
}

// hasName finds id in text, but not as the beginning of a longer number.
func hasName(text, id string) bool {
	for {
		_, rest, found := strings.Cut(text, id)
		if !found {
			return false
		}
		if rest == "" || rest[0] < '0' || rest[0] > '9' {
			return true
		}
		text = rest
	}
}

func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The state follows the name, which may contain anything.
	end := bytes.LastIndexByte(stat, ')')
	return end < 0 || len(stat) < end+3 || stat[end+2] == 'Z' || stat[end+2] == 'X'
}

// cgroupsNamed returns the cgroup directories of all hierarchies whose name has
// id, parents first.
func cgroupsNamed(id string) []string {
	var found []string
	for _, dir := range allCgroups() {
		if hasName(dir, id) {
			found = append(found, dir)
		}
	}
	return found
}

func allCgroups() []string {
	var found []string
	//nolint:errcheck // groups of others vanish meanwhile
	filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// mountsBelow returns the lines of mountinfo that name dir.
func mountsBelow(dir string) []string {
	var found []string
	for _, line := range mountinfo() {
		if strings.Contains(line, dir+"/") {
			found = append(found, line)
		}
	}
	return found
}

func mountinfo() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// sweep removes what leftovers found, so that one failure does not make others.
func (s *sandbox) sweep() {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		rest := s.processes()
		if len(rest) == 0 {
			break
		}
		for _, dir := range cgroupsNamed(s.id) {
			os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0) //nolint:errcheck // v1 only
		}
		for _, p := range rest {
			unix.Kill(p.pid, unix.SIGKILL) //nolint:errcheck // it may be gone
		}
		<-time.After(5 * time.Millisecond)
	}
	mounts := mountsBelow(s.work)
	slices.Reverse(mounts)
	for _, line := range mounts {
		if fields := strings.Fields(line); len(fields) > 4 {
			unix.Unmount(fields[4], unix.MNT_DETACH) //nolint:errcheck // reported already
		}
	}
	groups := cgroupsNamed(s.id)
	slices.Reverse(groups)
	for _, dir := range groups {
		os.Remove(dir) //nolint:errcheck // reported already
	}
}

// snapshot is what a machine has. On a machine that others work on, only what
// bears this process's name counts.
type snapshot map[string]bool

func takeSnapshot() snapshot {
	all := snapshot{}
	for _, dir := range allCgroups() {
		all["cgroup "+dir] = true
	}
	for _, line := range mountinfo() {
		_, mount, _ := strings.Cut(line, " ")
		all["mount "+mount] = true
	}
	for _, dir := range []string{"/tmp", "/run", "/dev/shm", "/var/tmp", "/run/netns"} {
		for _, name := range namesIn(dir) {
			all["file "+filepath.Join(dir, name)] = true
		}
	}
	for _, name := range namesIn("/sys/class/net") {
		all["interface "+name] = true
	}
	for _, name := range namesIn("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil || isZombie(pid) {
			continue
		}
		if netns, err := os.Readlink("/proc/" + name + "/ns/net"); err == nil {
			all["network namespace "+netns] = true
		}
		if command, err := os.ReadFile("/proc/" + name + "/cmdline"); err == nil && len(command) > 0 {
			all["process "+name+" "+string(command)] = true
		}
	}
	return all
}

// newSince returns what later has and s has not.
func (s snapshot) newSince(later snapshot) []string {
	var found []string
	for what := range later {
		// CRIU keeps what it has found out about the kernel until the next boot.
		if s[what] || strings.Contains(what, shared.dir) || what == "file /run/criu.kdat" {
			continue
		}
		if inVM() || strings.Contains(what, shared.nonce) {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}
