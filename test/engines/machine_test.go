package engines

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// settleTime is how long what an engine ends in the background may take.
const settleTime = 30 * time.Second

// machine is what the guest has, one line each: processes, control groups,
// mounts, network interfaces and namespaces, and what is in the directories of
// engines.
type machine map[string]bool

func machineNow() machine {
	m := machine{}
	for pid, command := range processes() {
		m[fmt.Sprintf("process %d %s", pid, command)] = true
	}
	for _, dir := range controlGroups("/sys/fs/cgroup") {
		m["control group "+dir] = true
	}
	for _, at := range mountPoints() {
		m["mount at "+at] = true
	}
	for _, dir := range []string{"/sys/class/net", "/run/netns", "/run", "/tmp", "/var/tmp", "/dev/shm", "/run/sandboxrun/containers", "/run/sandboxrun/locks"} {
		for _, name := range leftovers.Names(dir) {
			// What the testing package makes for a test it removes after it.
			if path := filepath.Join(dir, name); !strings.HasPrefix(path, "/tmp/Test") {
				m["entry "+path] = true
			}
		}
	}
	return m
}

// requireSame fails the test if the guest has more than before. What an engine
// ends in the background has some time; what the engines make once for all
// containers, and keep empty, doesn't count.
func (m machine) requireSame(t *testing.T) {
	t.Helper()
	kept := []string{
		"entry /run/sandboxrun",                                                                                                                      // sandboxrun's state root; its directories must be empty
		"entry /run/containers", "entry /run/netns", "mount at /run/netns", "entry /dev/shm/libpod_lock", "entry /dev/shm/libpod_rootless_lock_1000", // podman
		"entry /run/xtables.lock", // docker
	}
	err := eventually(settleTime, func() error {
		var added []string
		for what := range machineNow() {
			if !m[what] && !slices.Contains(kept, what) {
				added = append(added, what)
			}
		}
		if added == nil {
			return nil
		}
		slices.Sort(added)
		return fmt.Errorf("left behind:\n%s", strings.Join(added, "\n"))
	})
	if err != nil {
		t.Error(err)
	}
}

// requireNothingOf fails the test if there is a process, control group or mount
// of the container id, or its state directory.
func requireNothingOf(t *testing.T, id, state string) {
	t.Helper()
	err := eventually(settleTime, func() error {
		var left []string
		for pid, command := range processes() {
			if strings.Contains(command, id) {
				left = append(left, fmt.Sprintf("process %d %s", pid, command))
			}
		}
		for _, dir := range controlGroups("/sys/fs/cgroup") {
			if strings.Contains(dir, id) {
				left = append(left, "control group "+dir)
			}
		}
		for _, at := range mountPoints() {
			if strings.Contains(at, id) {
				left = append(left, "mount at "+at)
			}
		}
		if _, err := os.Lstat(state); err == nil {
			left = append(left, state)
		}
		if left == nil {
			return nil
		}
		return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	})
	if err != nil {
		t.Error(err)
	}
}

// eventually tries until there is no error, for at most d, and returns the last
// error.
func eventually(d time.Duration, try func() error) error {
	over := time.After(d)
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-over:
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// processes returns the command lines of living processes that are no threads
// of the kernel.
func processes() map[int]string {
	found := map[int]string{}
	for _, name := range leftovers.Names("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// A zombie has none either.
		command, err := os.ReadFile("/proc/" + name + "/cmdline")
		if err != nil || len(command) == 0 {
			continue
		}
		found[pid] = string(bytes.TrimSpace(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
	}
	return found
}

// controlGroups returns the directories below dir.
func controlGroups(dir string) []string {
	return leftovers.Cgroups(func(group string) bool { return strings.HasPrefix(group, dir+"/") })
}

func mountPoints() []string {
	var found []string
	for _, m := range leftovers.Mounts() {
		found = append(found, m.Point)
	}
	return found
}

// runtimeStates returns the status of each container below a state root.
func runtimeStates(t *testing.T, root string) []string {
	t.Helper()
	var list []struct{ Status string }
	askRuntime(t, &list, "--root", root, "list", "--format", "json")
	var states []string
	for _, container := range list {
		states = append(states, container.Status)
	}
	return states
}

// runtimeStatus returns the status of one container below a state root.
func runtimeStatus(t *testing.T, root, id string) string {
	t.Helper()
	var state struct{ Status string }
	askRuntime(t, &state, "--root", root, "state", id)
	return state.Status
}

// askRuntime decodes what a call of sandboxrun prints.
func askRuntime(t *testing.T, into any, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(sandboxrun(t), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sandboxrun %q: %v: %s", args, err, &stderr)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("sandboxrun %q: %v: %s", args, err, out)
	}
}

// makeFiles makes files by path and content, and directories, whose path ends
// with a slash, for user. It sorts, so that a directory comes before its files.
func makeFiles(t *testing.T, user *syscall.Credential, files map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		var err error
		if strings.HasSuffix(path, "/") {
			if err = os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
				err = nil
			}
		} else {
			err = os.WriteFile(path, []byte(files[path]), 0o600)
		}
		if err == nil && user != nil {
			err = os.Lchown(path, int(user.Uid), int(user.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// appendLine adds a line to a file for the time of the test.
func appendLine(t *testing.T, path, line string) {
	t.Helper()
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(was[:len(was):len(was)], line+"\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, was, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// removeTree removes an engine's directory, with the file systems that the
// engine itself keeps mounted there: its storage. A mount of a container is a
// failure, and stays.
func removeTree(t *testing.T, dir string) {
	t.Helper()
	err := eventually(settleTime, func() error {
		var left []string
		for _, at := range mountPoints() {
			switch {
			case !strings.HasPrefix(at, dir+"/"):
			case engineOwn(at):
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
					return fmt.Errorf("unmount %s: %w", at, err)
				}
			default:
				left = append(left, at)
			}
		}
		if left != nil {
			return fmt.Errorf("still mounted: %q", left)
		}
		return os.RemoveAll(dir)
	})
	if err != nil {
		t.Error(err)
	}
}

// engineOwn says whether an engine keeps something mounted there for itself:
// podman its layers, docker the host's network namespace, containerd what its
// mount manager once mounted for `ctr image mount`.
func engineOwn(at string) bool {
	return strings.HasSuffix(at, "/storage/overlay") || strings.HasSuffix(at, "/netns/default") || strings.Contains(at, "/io.containerd.mount-manager.")
}

// removeGroup removes an engine's own control group, which must be empty by then.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	err := eventually(settleTime, func() error {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s, in which is %q: %w", dir, controlGroups(dir), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// killAndWait ends a process that is no child.
func killAndWait(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	err := eventually(settleTime, func() error {
		if command, alive := processes()[pid]; alive {
			return fmt.Errorf("process %d is still there: %s", pid, command)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
