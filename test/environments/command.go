package environments

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
)

// RequireRoot skips a test that cannot work, and says why. In the VM it can.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if InVM() {
		t.Fatal("not root in the VM")
	}
	t.Skip("needs root: environments of ordinary users are not there yet")
}

// InVM tells whether this is the emulated machine of test/vm.
func InVM() bool { return os.Getenv("SANDBOXRUN_IN_VM") == "1" }

// Command makes `sandboxrun env ARGS…` with roots of the test's own. At the end
// of ctx it is interrupted, and has a minute to take down what it began.
func Command(ctx context.Context, program string, roots environment.Roots, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, append([]string{"--root", roots.State, "--data-root", roots.Data, "env"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd
}
