package engines

import (
	"os"
	"path/filepath"
	"testing"
)

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
