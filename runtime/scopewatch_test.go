package runtime

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// The group is a directory with the one file that counts: what systemd does to it
// here is done at will.
func TestScopeWatchKnowsWhatTheGroupHad(t *testing.T) {
	dir := t.TempDir()
	events := filepath.Join(dir, "memory.events")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(events, "low 0\noom 0\noom_kill 1\n")
	write(filepath.Join(dir, "pids.max"), "50\n")
	paths := map[string]string{"": dir}
	group, err := cgroup.Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	w, err := watchScope(group, paths)
	if err != nil {
		t.Fatal(err)
	}
	write(events, "low 0\noom 2\noom_kill 3\n")
	if got := w.stop(); got != 2 {
		t.Errorf("%d OOM kills, want 2", got)
	}
	if w.limits.Pids == nil || *w.limits.Pids != 50 {
		t.Errorf("limits %+v", w.limits)
	}
}

func TestScopeWatchWithoutMemoryController(t *testing.T) {
	paths := map[string]string{"": t.TempDir()}
	group, err := cgroup.Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := watchScope(group, paths); w != nil || err != nil {
		t.Errorf("got %v, %v", w, err)
	}
}
