package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// suite is what all tests of one test binary share.
type suite struct {
	dir string // for what is made once; removed at the end
}

// shared is set once by TestMain.
var shared suite

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "engines-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "engines:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.dir = dir
	return m.Run()
}

// requireVM skips the test where an engine would change somebody's machine.
func requireVM(t *testing.T) {
	t.Helper()
	if os.Getenv("SANDBOXRUN_IN_VM") == "" {
		t.Skip("starts a container engine, which is done in the VM only: make engines")
	}
}

// fromEnvironment returns the path that a variable has; the VM's harness sets it.
func fromEnvironment(t *testing.T, variable string, elements ...string) string {
	t.Helper()
	requireVM(t)
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set; make engines sets it", variable)
	}
	path := filepath.Join(append([]string{value}, elements...)...)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// sandboxrun returns the program's path.
func sandboxrun(t *testing.T) string {
	t.Helper()
	return fromEnvironment(t, "SANDBOXRUN_BIN")
}
