package built

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/bundles/samples"
)

// Program returns the path of the sandboxrun that SANDBOXRUN_BIN names, or
// builds it into dir as `make build` does, with companions such as "env" beside
// it.
func Program(dir string, companions ...string) (string, error) {
	if path := os.Getenv("SANDBOXRUN_BIN"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "sandboxrun")
	outputs := []string{path}
	for _, name := range companions {
		outputs = append(outputs, path+"-"+name)
	}
	for _, output := range outputs {
		if err := build(output); err != nil {
			return "", err
		}
	}
	return path, nil
}

func build(output string) error {
	command := exec.Command("go", "build", "-buildvcs=false", "-tags", "seccomp urfave_cli_no_docs netgo osusergo",
		"-ldflags", `-extldflags "-static"`, "-o", output, "github.com/sandboxrun/sandboxrun/cmd/"+filepath.Base(output))
	text, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("cannot build sandboxrun: there is no go command; set SANDBOXRUN_BIN and SANDBOXRUN_BUNDLES")
	}
	if err != nil {
		return fmt.Errorf("build sandboxrun: %w\n%s", err, text)
	}
	return nil
}

// Bundles returns the directory of sample bundles that SANDBOXRUN_BUNDLES names,
// or builds those of the names into dir/bundles.
func Bundles(dir string, names ...string) (string, error) {
	if path := os.Getenv("SANDBOXRUN_BUNDLES"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "bundles")
	for _, name := range names {
		if _, err := samples.Build(context.Background(), path, name); err != nil {
			return "", err
		}
	}
	return path, nil
}

// MadeProgram returns the path of the sandboxrun that SANDBOXRUN_BIN names, or
// of make's own, with its companions beside it. The test is in a folder of test/.
func MadeProgram(t testing.TB) string {
	t.Helper()
	return made(t, "SANDBOXRUN_BIN", "../../bin/sandboxrun")
}

// MadeBundles returns the directory of sample bundles that SANDBOXRUN_BUNDLES
// names, or make's own.
func MadeBundles(t testing.TB) string {
	t.Helper()
	return made(t, "SANDBOXRUN_BUNDLES", "../../bin/bundles")
}

func made(t testing.TB, variable, otherwise string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = otherwise
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("needs what make build and make samples make: %v", err)
	}
	return path
}
