package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tester is the guest's ordinary user.
const tester = 1000

// testerRuntimeDir is what pam_systemd sets XDG_RUNTIME_DIR to.
const testerRuntimeDir = "/run/user/1000"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if !inVM() {
		return m.Run()
	}
	if err := startUserManager(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot start the manager of the user tester:", err)
		return 1
	}
	code := m.Run()
	if err := command(time.Minute, "loginctl", "disable-linger", "tester"); err != nil {
		fmt.Fprintln(os.Stderr, "end the manager of the user tester:", err)
		return 1
	}
	return code
}

func inVM() bool {
	return os.Getenv("SANDBOXRUN_IN_VM") != "" && unix.Access("/run/systemd/system", unix.F_OK) == nil
}

func requireVM(t *testing.T) {
	t.Helper()
	if !inVM() {
		t.Skip("runs in the VM with systemd: make systemd")
	}
}

// startUserManager lets tester linger and waits for his bus.
func startUserManager() error {
	if err := command(time.Minute, "loginctl", "enable-linger", "tester"); err != nil {
		return err
	}
	deadline := time.Now().Add(2 * time.Minute)
	for unix.Access(testerRuntimeDir+"/bus", unix.F_OK) != nil {
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s/bus after two minutes", testerRuntimeDir)
		}
		<-time.After(50 * time.Millisecond)
	}
	return nil
}

func command(limit time.Duration, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, output)
	}
	return nil
}
