package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/logs"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestLostLinesAreToldOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := outputs{dir: filepath.Join(file, "no directory"), redactor: logs.NewRedactor()}
	out := o.open("web-1", plan.Logs{})
	defer out.Close()
	if got := out.newlyLost(); got != "" {
		t.Errorf("before any line: %q", got)
	}
	fmt.Fprint(out.stdout, "one\ntwo\n")
	out.Flush()
	if got := out.newlyLost(); !strings.HasPrefix(got, "2 lines ") {
		t.Errorf("after two lines: %q", got)
	}
	if got := out.newlyLost(); got != "" {
		t.Errorf("once more: %q", got)
	}
}
