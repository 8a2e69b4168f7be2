package runtime

import (
	"errors"
	"os"
	"slices"
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

// Everybody's namespace is no container's.
func TestTheCallersNamespaceIsNoContainers(t *testing.T) {
	if got, err := namespaceProcesses(os.Getpid()); !errors.Is(err, errSharedPIDs) || len(got) != 0 {
		t.Errorf("namespaceProcesses() of our own = %v, %v", got, err)
	}
	if got, err := namespaceProcesses(1 << 30); err != nil || len(got) != 0 {
		t.Errorf("namespaceProcesses() of nobody = %v, %v", got, err)
	}
}
