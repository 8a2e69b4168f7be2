package launch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// BenchmarkLifetime is an environment without services: up, down, audit. The
// supervisor is this test binary.
func BenchmarkLifetime(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("namespaces and cgroups need root")
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	opts := Options{
		Roots:         environment.Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")},
		Plan:          &plan.Plan{Version: plan.Version, Name: testName("bench"), Dir: serve},
		Executable:    self,
		DieWithParent: true,
	}
	for b.Loop() {
		l, err := Launch(b.Context(), opts)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Client.Stop(b.Context(), control.StopRequest{Reason: "bench"}, nil); err != nil {
			b.Fatal(err)
		}
		if err := opts.Roots.Remove(b.Context(), opts.Plan.Name, environment.RemoveOptions{}); err != nil {
			b.Fatal(err)
		}
		if left, err := environment.Audit(b.Context(), l.Record, environment.RemoveOptions{}); err != nil || len(left) > 0 {
			b.Fatal(left, err)
		}
	}
}
