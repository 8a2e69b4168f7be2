package equivalence_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers describes everything of the trial that exists on the machine.
func (tr *trial) leftovers() []string {
	var found []string
	for _, pid := range tr.processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		found = append(found, fmt.Sprintf("process %d %q", pid, bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
	}
	for _, dir := range tr.cgroups() {
		found = append(found, "cgroup "+dir)
	}
	for _, mount := range tr.mounts() {
		found = append(found, "mount "+mount)
	}
	for _, dir := range []string{tr.state, filepath.Join(tr.state, "containers"), filepath.Join(tr.state, "locks")} {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if dir != tr.state || entry.Name() != "containers" && entry.Name() != "locks" {
				found = append(found, "state "+filepath.Join(dir, entry.Name()))
			}
		}
	}
	return found
}

// processes finds those of the script by environment, a container's by cgroup
// and mounts. A zombie is dead.
func (tr *trial) processes() []int {
	var found []int
	own, err := os.Stat("/")
	if err != nil {
		panic(err)
	}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		proc := "/proc/" + entry.Name()
		marks := map[string]string{"environ": "DIR=" + tr.dir + "\x00", "cgroup": tr.id}
		// A mount that is left on the machine is in the table of all its processes,
		// and they would all be swept: only a container has another root.
		if root, err := os.Stat(proc + "/root/"); err == nil && !os.SameFile(root, own) {
			marks["mountinfo"] = tr.dir + "/"
		}
		for file, what := range marks {
			if text, err := os.ReadFile(proc + "/" + file); err == nil && bytes.Contains(text, []byte(what)) && !isZombie(pid) {
				found = append(found, pid)
				break
			}
		}
	}
	return found
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

// cgroups lists the trial's directories, the deepest last.
func (tr *trial) cgroups() []string {
	var found []string
	//nolint:errcheck // directories vanish while others work
	filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(entry.Name(), tr.id) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

func (tr *trial) mounts() []string {
	var found []string
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], tr.dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}

// sweep removes what was reported already, for the trials after this one.
func (tr *trial) sweep() {
	for _, pid := range tr.processes() {
		unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may be gone
	}
	for deadline := time.Now().Add(5 * time.Second); len(tr.processes()) > 0 && time.Now().Before(deadline); {
		<-time.After(pollInterval)
	}
	mounts := tr.mounts()
	for i := len(mounts) - 1; i >= 0; i-- {
		unix.Unmount(mounts[i], unix.MNT_DETACH) //nolint:errcheck // reported already
	}
	groups := tr.cgroups()
	for i := len(groups) - 1; i >= 0; i-- {
		os.Remove(groups[i]) //nolint:errcheck // reported already
	}
	os.RemoveAll(tr.state) //nolint:errcheck // reported already
}
