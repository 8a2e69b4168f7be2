package security_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/test/leftovers"
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
	for _, rest := range leftBehind() {
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
	command := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", output}, args...)...)
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

// leftBehind finds what bears this process's name.
func leftBehind() []string {
	mark := shared.nonce + "-"
	var found []string
	for _, dir := range leftovers.Cgroups(func(dir string) bool { return strings.Contains(filepath.Base(dir), mark) }) {
		found = append(found, "cgroup "+dir)
	}
	for _, line := range hostMounts() {
		if strings.Contains(line, mark) {
			found = append(found, "mount "+line)
		}
	}
	for _, p := range leftovers.Processes(func(p leftovers.Process) (by string) {
		if strings.Contains(strings.Join(p.Args(), " "), mark) {
			return "arguments"
		}
		return ""
	}) {
		found = append(found, p.String())
	}
	slices.Sort(found)
	return found
}

// hostMounts are the lines of the host's mountinfo without their changing IDs.
func hostMounts() []string {
	var lines []string
	for _, m := range leftovers.Mounts() {
		lines = append(lines, strings.Join(strings.Fields(m.Line)[3:], " "))
	}
	return lines
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sandboxes need namespaces and cgroups")
	}
}
