package equivalence_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandboxrun/sandboxrun/test/built"
)

var update = flag.Bool("update", false, "write the generated part of docs/compatibility.md")

// suite is what all cases share. It is made by TestMain before any test and not
// changed afterwards.
type suite struct {
	dir      string // of everything below; removed at the end
	nonce    string // is in the name of all that is made
	runc     string
	version  string // of runc, such as "1.5.2"
	ours     string // the sandboxrun program
	busybox  string // static
	workload string // the program of the sample bundle
}

// shared is set once by TestMain.
var shared suite

func TestMain(m *testing.M) {
	testscript.Main(prepared{m}, map[string]func(){
		"shape":   shape,
		"pty":     pty,
		"console": receiveConsole,
		"pidfd":   receivePidfd,
	})
}

// prepared is a testing.M that makes the suite first.
type prepared struct{ m *testing.M }

func (p prepared) Run() int {
	flag.Parse()
	if os.Geteuid() != 0 {
		return p.m.Run() // TestCases says why it is skipped
	}
	err := shared.prepare()
	defer os.RemoveAll(shared.dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "equivalence:", err)
		return 1
	}
	return p.m.Run()
}

func (s *suite) prepare() (err error) {
	s.nonce = fmt.Sprintf("eq%x", os.Getpid())
	if s.runc, s.version, err = findRunc(); err != nil {
		return err
	}
	if s.busybox, err = findBusybox(); err != nil {
		return err
	}
	// Short, for the paths of sockets in it.
	if s.dir, err = os.MkdirTemp("", s.nonce+"-"); err != nil {
		return err
	}
	// A sandbox's user has to pass.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if s.ours, err = built.Program(s.dir); err != nil {
		return err
	}
	bundles, err := built.Bundles(s.dir, "workload")
	if err != nil {
		return err
	}
	s.workload = filepath.Join(bundles, "workload", "rootfs", "bin", "workload")
	return s.makeTemplate()
}

// oldestRunc is the release whose libcontainer go.mod names: what older ones do
// otherwise is not sandboxrun's difference.
const oldestRunc = "1.5.0"

// findRunc refuses to go on without a runc: a comparison with nothing shows
// nothing.
func findRunc() (path, version string, err error) {
	name := os.Getenv("SANDBOXRUN_RUNC")
	if name == "" {
		name = "runc"
	}
	if path, err = exec.LookPath(name); err != nil {
		return "", "", fmt.Errorf("cannot compare with runc: %w; make integration builds one; or set SANDBOXRUN_RUNC to its path", err)
	}
	output, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	found := regexp.MustCompile(`^runc version (\d+\.\d+\.\d+)`).FindSubmatch(output)
	if found == nil {
		return "", "", fmt.Errorf("cannot compare with %s: it says %q, which is no runc; set SANDBOXRUN_RUNC to another", path, output)
	}
	version = string(found[1])
	if olderThan(version, oldestRunc) {
		return "", "", fmt.Errorf("cannot compare with %s: it is runc %s, and the list of differences begins with %s; set SANDBOXRUN_RUNC to a newer one (make integration builds it)", path, version, oldestRunc)
	}
	return path, version, nil
}

func findBusybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("cannot make a root filesystem: %w; install busybox-static (make integration does)", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	// The name of the dynamic linker is in every program that needs one.
	if strings.Contains(string(program[:min(len(program), 4096)]), "/ld-linux") {
		return "", fmt.Errorf("cannot make a root filesystem: %s is not static; install busybox-static", path)
	}
	return path, nil
}
