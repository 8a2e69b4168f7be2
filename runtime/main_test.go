package runtime_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/samples"
)

// workloadDir is a bundle whose program does what its arguments say.
var workloadDir string

// TestMain builds the bundle that the tests and examples run. Containers need
// root, so without it the examples, which cannot skip, are left out.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		flag.Parse()
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "not root: the examples are left out")
			if err := flag.Set("test.run", "^Test"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "sandboxrun-runtime-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if workloadDir, err = workload(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// workload copies the prebuilt bundle where there is no Go toolchain, as in
// the virtual machine, and builds it elsewhere.
func workload(dir string) (string, error) {
	if prebuilt := os.Getenv("SANDBOXRUN_BUNDLES"); prebuilt != "" {
		out, err := exec.Command("cp", "-a", filepath.Join(prebuilt, "workload"), dir).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("copy %q: %w: %s", prebuilt, err, out)
		}
	} else if _, err := samples.Build(context.Background(), dir, "workload"); err != nil {
		return "", err
	}
	return filepath.Join(dir, "workload"), nil
}

// loadWorkload returns the bundle with the given arguments for its program.
func loadWorkload(args ...string) (*bundles.Bundle, error) {
	bundle, err := bundles.Load(workloadDir)
	if err != nil {
		return nil, err
	}
	bundle.Spec.Process.Args = append([]string{"/bin/workload"}, args...)
	return bundle, nil
}
