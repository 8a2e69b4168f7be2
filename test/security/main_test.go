package security_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// suite is what all tests share. TestMain makes it before the first test, and
// nothing changes it afterwards.
type suite struct {
	dir      string // of everything below; removed at the end
	binary   string // the sandboxrun program, a copy: attacks aim at it
	attacker string // the hostile program
	nonce    string // begins every ID of this process
}

// shared is set once by TestMain.
var shared suite

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	err := prepare(&shared)
	defer os.RemoveAll(shared.dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		return 1
	}
	code := m.Run()
	for _, rest := range leftovers() {
		fmt.Fprintln(os.Stderr, "security: left after all tests:", rest)
		code = 1
	}
	return code
}

func prepare(s *suite) (err error) {
	s.nonce = fmt.Sprintf("sec%x", os.Getpid())
	// Short, for the paths of sockets in it.
	if s.dir, err = os.MkdirTemp("", s.nonce+"-"); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	s.attacker = filepath.Join(s.dir, "attacker")
	if err := build(s.attacker, "CGO_ENABLED=0", "-ldflags", "-s -w", "./attacker"); err != nil {
		return err
	}
	s.binary = filepath.Join(s.dir, "sandboxrun")
	if built := os.Getenv("SANDBOXRUN_BIN"); built != "" {
		text, err := exec.Command("cp", "--", built, s.binary).CombinedOutput()
		if err != nil {
			return fmt.Errorf("copy %q: %w: %s", built, err, text)
		}
		return nil
	}
	return build(s.binary, "CGO_ENABLED=1", "-tags", "seccomp urfave_cli_no_docs netgo osusergo",
		"-ldflags", `-extldflags "-static"`, "github.com/sandboxrun/sandboxrun/cmd/sandboxrun")
}

func build(output, environment string, args ...string) error {
	command := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", output}, args...)...)
	// GOFLAGS of the caller may ask for -race or -cover, which aren't static.
	command.Env = append(os.Environ(), "GOFLAGS=", environment)
	text, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("cannot build what attacks: there is no go command in PATH; install Go 1.26")
	}
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", output, err, text)
	}
	return nil
}

// leftovers finds what bears this process's name.
func leftovers() []string {
	var found []string
	//nolint:errcheck // groups of others vanish meanwhile
	filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.Contains(e.Name(), shared.nonce+"-") {
			found = append(found, "cgroup "+path)
		}
		return nil
	})
	for _, line := range hostMounts() {
		if strings.Contains(line, shared.nonce+"-") {
			found = append(found, "mount "+line)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		if path == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			continue
		}
		if command, _ := os.ReadFile(path); strings.Contains(string(command), shared.nonce+"-") {
			found = append(found, "process "+path+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	slices.Sort(found)
	return found
}

// hostMounts are the lines of the host's mountinfo without their changing IDs.
func hostMounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			lines = append(lines, strings.Join(fields[3:], " "))
		}
	}
	return lines
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sandboxes need namespaces and cgroups")
	}
}
