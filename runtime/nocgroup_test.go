package runtime

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLimitsOfASpecAreNamed(t *testing.T) {
	limit := int64(5)
	tests := []struct {
		resources specs.LinuxResources
		want      []string
	}{
		{specs.LinuxResources{}, nil},
		{specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{}, Unified: map[string]string{}}, nil},
		{specs.LinuxResources{Memory: &specs.LinuxMemory{}, Pids: &specs.LinuxPids{Limit: &limit}, Unified: map[string]string{"memory.high": "1"}},
			[]string{"memory", "pids", "unified"}},
	}
	for _, tt := range tests {
		if got := setMembers(tt.resources); !slices.Equal(got, tt.want) {
			t.Errorf("setMembers(%+v) = %q, want %q", tt.resources, got, tt.want)
		}
	}
}

// A process in a namespace of its own below the first one's is one of the
// container's too.
func TestProcessesAreFoundByNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes PID namespaces")
	}
	command := exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "unshare --pid --fork --kill-child sh -c 'echo ready; read x; true'; true")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		command.Wait() //nolint:errcheck // how it ends does not matter
	})
	if _, err := stdout.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	got, err := namespaceProcesses(command.Process.Pid)
	// Two of unshare, and the shell of each.
	if err != nil || len(got) != 4 || got[0] != command.Process.Pid {
		t.Errorf("namespaceProcesses() = %v, %v; want 4 from %d on", got, err, command.Process.Pid)
	}
	// Everybody's namespace is no container's.
	if got, err := namespaceProcesses(os.Getpid()); !errors.Is(err, errSharedPIDs) || len(got) != 0 {
		t.Errorf("namespaceProcesses() of our own = %v, %v", got, err)
	}
	if got, err := namespaceProcesses(1 << 30); err != nil || len(got) != 0 {
		t.Errorf("namespaceProcesses() of nobody = %v, %v", got, err)
	}
}
