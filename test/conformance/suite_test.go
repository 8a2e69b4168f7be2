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
			for _, e := range expected {
				t.Run(e.name, func(t *testing.T) {
					if !alone(e.name) {
						t.Parallel() // they mostly wait
					}
					s.try(t, e, runtime, command)
				})
			}
		})
	}
}

// alone says what cannot run beside others: those that use one cgroup path, or
// give a hook one second.
func alone(name string) bool {
	return strings.HasPrefix(name, "linux_cgroups_") || strings.HasSuffix(name, "_resources") || name == "hooks_stdin"
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

	const deadline = 2 * time.Minute // of an executable that takes seconds
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	// A root that is shared, as systemd makes it, and a mount namespace, because
	// runc leaves mounts behind.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private",
		"sh", "-c", `mount --make-rshared / && { "$0"; code=$?; cat /proc/self/mountinfo >"$1"; exit $code; }`, filepath.Join(s.dir, e.name), mounts)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "RUNTIME="+wrapper, "TMPDIR="+bundles)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}

	got := readTAP(stdout.String(), cmd.ProcessState.ExitCode())
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
