package conformance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// suite is where the executables are, and the runtimes to try them on.
type suite struct {
	dir      string
	runtimes map[string]string // commands, by name
}

func openSuite(t *testing.T) suite {
	t.Helper()
	dir := os.Getenv("SANDBOXRUN_VALIDATION")
	if dir == "" {
		if os.Getenv("SANDBOXRUN_IN_VM") != "" {
			t.Fatal("SANDBOXRUN_VALIDATION does not name the validation suite")
		}
		t.Skip("runs in the VM: make conformance")
	}
	s := suite{dir, map[string]string{"sandboxrun": os.Getenv("SANDBOXRUN_BIN")}}
	if os.Getenv("SANDBOXRUN_PEERS") == "yes" {
		s.runtimes["runc"], s.runtimes["crun"] = "runc", "crun"
	}
	return s
}

// executables lists the suite as it was built.
func (s suite) executables(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != "runtimetest" && !strings.HasSuffix(e.Name(), ".tar.gz") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestValidationSuite(t *testing.T) {
	s := openSuite(t)
	expected, err := readExpected(expectedTable)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, e := range expected {
		listed = append(listed, e.name)
	}
	if built := s.executables(t); !slices.Equal(built, slices.Sorted(slices.Values(listed))) {
		t.Fatalf("the suite has %q, the table %q", built, listed)
	}
	for _, runtime := range runtimes {
		command, wanted := s.runtimes[runtime]
		if !wanted {
			continue
		}
		t.Run(runtime, func(t *testing.T) {
			lanes := map[string][]expectation{}
			for _, e := range expected {
				lanes[laneOf(e.name)] = append(lanes[laneOf(e.name)], e)
			}
			for name, lane := range lanes {
				t.Run(name, func(t *testing.T) {
					if name != laneAlone {
						t.Parallel()
					}
					for _, e := range lane {
						t.Run(e.name, func(t *testing.T) {
							if name == laneBeside {
								t.Parallel() // they mostly wait
							}
							s.try(t, e, runtime, command)
						})
					}
				})
			}
		})
	}
}

// Lanes run beside each other, but for the first, which has the machine to
// itself. What is in one of them runs one after the other, but for the last:
// there each has an ID, a bundle and a cgroup of its own.
const (
	laneAlone    = "alone"            // it gives a hook one second
	laneAbsolute = "absolute-cgroups" // they all use one cgroup path
	laneRelative = "relative-cgroups" // and these another
	laneBeside   = "side-by-side"
)

func laneOf(name string) string {
	switch {
	case name == "hooks_stdin":
		return laneAlone
	case strings.HasPrefix(name, "linux_cgroups_relative_"):
		return laneRelative
	case strings.HasPrefix(name, "linux_cgroups_"), strings.HasSuffix(name, "_resources"):
		return laneAbsolute
	default:
		return laneBeside
	}
}

func (s suite) try(t *testing.T, e expectation, runtime, command string) {
	dir := t.TempDir()
	// The root of a user namespace has to pass.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	wrapper := writeWrapper(t, dir, runtime, command, root)
	bundles := filepath.Join(dir, "bundles")
	if err := os.Mkdir(bundles, 0o755); err != nil {
		t.Fatal(err)
	}

	mounts := filepath.Join(dir, "mounts")

	const deadline = 5 * time.Minute // of an executable that takes seconds
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	// A root that is shared, as systemd makes it, and a mount namespace, because
	// runc leaves mounts behind. Bundles are in memory: each has some 400 files.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private",
		"sh", "-c", `mount --make-rshared / && mount -t tmpfs -o mode=755 bundles "$2" && { "$0"; code=$?; cat /proc/self/mountinfo >"$1"; exit $code; }`,
		filepath.Join(s.dir, e.name), mounts, bundles)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "RUNTIME="+wrapper, "TMPDIR="+bundles)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	output, cut, readErr := readUntilFailure(stdout, e.verdicts[runtime] == failed)
	// An executable that writes on gets SIGPIPE, between two calls of the runtime.
	stdout.Close()
	if err := cmd.Wait(); ctx.Err() != nil {
		t.Fatalf("it takes longer than %s: %v", deadline, err)
	}
	if readErr != nil {
		t.Fatal(readErr)
	}

	exitCode := cmd.ProcessState.ExitCode()
	if cut {
		exitCode = 0 // it is what it said until then that counts
	}
	got := readTAP(output, exitCode)
	if want := e.verdicts[runtime]; want == unrecorded {
		t.Logf("not recorded so far: %s", got.verdict)
	} else if got.verdict != want {
		t.Errorf("%s, not %s as expected: %d assertions hold; %s\nstderr:\n%s", got.verdict, want, got.ok, strings.Join(got.problems, "; "), stderr.String())
	}
	rest := removeRest(t, wrapper, root, runtime)
	// An executable that fails halfway forgets to delete.
	if runtime == "sandboxrun" && got.verdict == passed {
		for _, left := range append(rest, mountsBelow(t, mounts, bundles)...) {
			t.Errorf("it left %s", left)
		}
	}
}

// writeWrapper makes the command that the suite calls: the runtime with a state
// root of its own. crun 1.8 refuses a specification newer than itself, so it is
// told of an older version.
func writeWrapper(t *testing.T, dir, runtime, command, root string) string {
	t.Helper()
	script := "#!/bin/sh\n"
	if runtime == "crun" {
		script += `[ "$1" != create ] || sed -i 's/"ociVersion":\( *\)"1\.3\.0"/"ociVersion":\1"1.0.2"/' "$3/config.json"` + "\n"
	}
	script += "exec '" + command + "' --root '" + root + "' \"$@\"\n"
	path := filepath.Join(dir, runtime)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// removeRest deletes the containers that an executable left, and names them.
func removeRest(t *testing.T, wrapper, root, runtime string) []string {
	t.Helper()
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	out, err := exec.CommandContext(t.Context(), wrapper, "list", "--quiet").Output()
	if err != nil {
		t.Errorf("%s list: %v", runtime, err)
	}
	ids := strings.Fields(string(out))
	for _, id := range ids {
		if out, err := exec.CommandContext(t.Context(), wrapper, "delete", "--force", id).CombinedOutput(); err != nil {
			t.Errorf("%s delete --force %s: %v: %s", runtime, id, err, out)
		}
	}
	return ids
}

// mountsBelow reads from a copy of mountinfo what is mounted below dir.
func mountsBelow(t *testing.T, mountinfo, dir string) []string {
	t.Helper()
	mounts, err := os.ReadFile(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	var below []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], dir+"/") {
			below = append(below, "the mount "+fields[4])
		}
	}
	return below
}
