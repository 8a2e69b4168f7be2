package runtime

import (
	"os"
	"testing"
)

// containerd's stock shim looks for these texts in what a failed kill prints
// (cmd/containerd-shim-runc-v2/process/utils.go, checkKillError), and takes
// any other for an unknown error.
func TestTextsThatContainerdReads(t *testing.T) {
	for want, err := range map[string]error{
		"container not running":        ErrNotRunning,
		"container does not exist":     ErrNotFound,
		"os: process already finished": os.ErrProcessDone,
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
