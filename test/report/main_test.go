package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is a small module whose packages end in each way that a package can.
var module = map[string]string{
	"go.mod": "module example.test/m\n\ngo 1.26\n",
	"good/good_test.go": `package good

import "testing"

func TestTable(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {})
	}
}

func TestSkipped(t *testing.T) { t.Skip("needs the moon") }
`,
	"bad/bad_test.go": `package bad

import "testing"

func TestBad(t *testing.T) {
	t.Run("case", func(t *testing.T) { t.Error("two is not three") })
}

func TestPanic(t *testing.T) { panic("oh no") }
`,
	"broken/broken.go":      "package broken\n\nvar X int = missing\n",
	"broken/broken_test.go": "package broken\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) {}\n",
	"empty/empty.go":        "package empty\n",
}

func writeModule(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for path, content := range module {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
}

func TestRunAndTotalOfRealPackages(t *testing.T) {
	writeModule(t)
	var out, errOut strings.Builder

	if err := run([]string{"run", "good", "--", "go", "test", "-json", "./good", "./empty"}, &out, &errOut); err != nil {
		t.Fatalf("run good: %v\n%s%s", err, &out, &errOut)
	}
	if want := "good: 2 passed, 0 failed, 1 skipped in "; !strings.Contains(out.String(), want) {
		t.Errorf("run good printed %q, want %q in it", out.String(), want)
	}

	out.Reset()
	if err := run([]string{"run", "all", "--", "go", "test", "-json", "./..."}, &out, &errOut); !errors.Is(err, errFailed) {
		t.Fatalf("run all: got %v, want %v", err, errFailed)
	}
	for _, want := range []string{"two is not three", "panic: oh no", "undefined: missing", "FAIL example.test/m/bad:", "ok   example.test/m/good:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("run all printed %q, want %q in it", out.String(), want)
		}
	}

	out.Reset()
	if err := run([]string{"total", "good"}, &out, &errOut); err != nil {
		t.Errorf("total good: %v", err)
	}
	out.Reset()
	if err := run([]string{"total", "good", "all"}, &out, &errOut); !errors.Is(err, errFailed) {
		t.Errorf("total good all: got %v, want %v", err, errFailed)
	}
	const want = `good: 2 passed, 0 failed, 1 skipped
all: 2 passed, 3 failed, 1 skipped
skipped:
  good: example.test/m/good TestSkipped: needs the moon
failed:
  all: example.test/m/bad TestBad/case
  all: example.test/m/bad TestPanic
  all: example.test/m/broken
4 passed, 3 failed, 1 skipped
`
	// The packages end in any order.
	if got := sortFailures(out.String()); got != want {
		t.Errorf("total printed:\n%s\nwant:\n%s", got, want)
	}
}

// sortFailures puts the failures of package broken, whose build ends when it likes, last.
func sortFailures(printed string) string {
	const broken = "  all: example.test/m/broken\n"
	if !strings.Contains(printed, broken) {
		return printed
	}
	rest := strings.Replace(printed, broken, "", 1)
	last := strings.LastIndex(strings.TrimSuffix(rest, "\n"), "\n") + 1
	return rest[:last] + broken + rest[last:]
}

func TestPhasesThatRanNothingFail(t *testing.T) {
	tests := []struct {
		name    string
		command []string
		want    string
	}{
		{"a command that says nothing", []string{"true"}, "no test ran"},
		{"a command that fails", []string{"sh", "-c", "exit 3"}, "exit status 3"},
		{"a command that is not there", []string{"/nonexistent/command"}, "no such file"},
		{
			"a command that fails after its tests passed",
			[]string{"sh", "-c", `echo '{"Action":"pass","Package":"p","Test":"TestA"}'; echo '{"Action":"pass","Package":"p"}'; exit 4`},
			"exit status 4",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var out, errOut strings.Builder
			if err := run(append([]string{"run", "vm", "--"}, tt.command...), &out, &errOut); !errors.Is(err, errFailed) {
				t.Errorf("run: got %v, want %v", err, errFailed)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("printed %q, want %q in it", out.String(), tt.want)
			}
			out.Reset()
			if err := run([]string{"total", "vm"}, &out, &errOut); !errors.Is(err, errFailed) {
				t.Errorf("total: got %v, want %v", err, errFailed)
			}
		})
	}
}

func TestTotalOfAPhaseWithoutEventsFails(t *testing.T) {
	t.Chdir(t.TempDir())
	var out strings.Builder
	if err := run([]string{"total", "vm"}, &out, &out); !errors.Is(err, errFailed) {
		t.Errorf("got %v, want %v", err, errFailed)
	}
	if !strings.HasSuffix(out.String(), "\n0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("printed %q", out.String())
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"run"}, {"run", "unit"}, {"run", "unit", "true"}, {"total"}, {"sum", "unit"}} {
		if err := run(args, os.Stdout, os.Stderr); err == nil || err.Error() != usage {
			t.Errorf("run(%q): got %v, want the usage", args, err)
		}
	}
}
