package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/runtime"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes containers")
	}
}

// newRuntime returns a runtime on a root of its own and asserts at the end of
// the test that nothing is left under it, and no cgroup of its containers.
// Their IDs start with the test's name.
func newRuntime(t *testing.T) *runtime.Runtime {
	t.Helper()
	requireRoot(t)
	root := t.TempDir()
	rt, err := runtime.New(runtime.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pattern := range []string{
			filepath.Join(root, "*", "*"),
			"/sys/fs/cgroup/sandboxrun-" + t.Name() + "*",
			"/sys/fs/cgroup/*/sandboxrun-" + t.Name() + "*",
			"/sys/fs/cgroup/*/*/*/sandboxrun-" + t.Name() + "*",
		} {
			left, err := filepath.Glob(pattern)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		}
	})
	return rt
}

func options(t *testing.T, id string, args ...string) runtime.CreateOptions {
	t.Helper()
	bundle, err := loadWorkload(args...)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.CreateOptions{ID: t.Name() + id, Bundle: bundle.Dir, Spec: bundle.Spec}
}

func TestLifecycleOfACreatedContainer(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "", "sleep", "1m")
	c, err := rt.Create(opts)
	if err != nil {
		t.Fatal(err)
	}
	status := func() string {
		t.Helper()
		loaded, err := rt.Load(opts.ID)
		if err != nil {
			t.Fatal(err)
		}
		state, err := loaded.State()
		if err != nil {
			t.Fatal(err)
		}
		return state.Status
	}
	if got := status(); got != "created" {
		t.Errorf("status after Create() = %q", got)
	}
	if _, err := rt.Create(opts); !errors.Is(err, runtime.ErrExists) {
		t.Errorf("second Create() = %v, want ErrExists", err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != "running" {
		t.Errorf("status after Start() = %q", got)
	}
	if err := c.Start(); !errors.Is(err, runtime.ErrWrongState) {
		t.Errorf("second Start() = %v, want ErrWrongState", err)
	}
	if err := rt.Delete(t.Context(), opts.ID, false); !errors.Is(err, runtime.ErrWrongState) {
		t.Errorf("Delete() of a running container = %v, want ErrWrongState", err)
	}
	if err := c.Kill(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	exit, err := c.Wait()
	if want := (runtime.ExitStatus{Code: 137, Signal: syscall.SIGKILL}); err != nil || exit != want {
		t.Errorf("Wait() = %+v, %v; want %+v", exit, err, want)
	}
	if got := status(); got != "stopped" {
		t.Errorf("status after the end = %q", got)
	}
	if err := c.Kill(syscall.SIGTERM); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("Kill() of a stopped container = %v, want ErrNotRunning", err)
	}
	if err := rt.Delete(t.Context(), opts.ID, false); err != nil {
		t.Error(err)
	}
	if _, err := rt.Load(opts.ID); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Load() of a deleted container = %v, want ErrNotFound", err)
	}
	if err := rt.Delete(t.Context(), opts.ID, false); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("second Delete() = %v, want ErrNotFound", err)
	}
	if err := rt.Delete(t.Context(), opts.ID, true); err != nil {
		t.Errorf("forced Delete() of nothing = %v", err)
	}
}

func TestOneOfManyCreatorsWinsAnID(t *testing.T) {
	rt := newRuntime(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		opts := options(t, "", "sleep", "1m")
		wg.Go(func() {
			_, err := rt.Create(opts)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, runtime.ErrExists):
				t.Errorf("Create() = %v, want ErrExists", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d creators won", won.Load())
	}
	if err := rt.Delete(t.Context(), t.Name(), true); err != nil {
		t.Error(err)
	}
}

func TestRunsSideBySideInOneProcess(t *testing.T) {
	rt := newRuntime(t)
	var wg sync.WaitGroup
	for i := range 6 {
		id := string(rune('a' + i))
		opts := options(t, id, "args", id)
		var out bytes.Buffer
		opts.Stdout = &out
		wg.Go(func() {
			report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
			if err != nil || report.Reason != runtime.ReasonExited || report.ExitCode != 0 {
				t.Errorf("Run() = %+v, %v", report, err)
			}
			if want := `"` + id + `"`; strings.TrimSpace(out.String()) != want {
				t.Errorf("output %q, want %q", out.String(), want)
			}
		})
	}
	wg.Wait()
}

func TestEndOfTheContextStopsTheProgram(t *testing.T) {
	rt := newRuntime(t)
	ctx, cancel := context.WithCancel(t.Context())
	opts := options(t, "", "signal", "trap", "TERM", "exit", "5")
	opts.Stdout = writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("ready")) {
			cancel()
		}
		return len(p), nil
	})
	report, err := rt.Run(ctx, runtime.RunOptions{CreateOptions: opts})
	if err != nil || report.Reason != runtime.ReasonExited || report.ExitCode != 5 {
		t.Errorf("Run() = reason %q, code %d, %v; want the program's own end", report.Reason, report.ExitCode, err)
	}
}

func TestWallTimeEndsTheProgram(t *testing.T) {
	rt := newRuntime(t)
	report, err := rt.Run(t.Context(), runtime.RunOptions{
		CreateOptions: options(t, "", "sleep", "1m"),
		WallTime:      50 * time.Millisecond,
	})
	if err != nil || report.Reason != runtime.ReasonWallTime || report.ExitCode != 137 {
		t.Errorf("Run() = reason %q, code %d, %v", report.Reason, report.ExitCode, err)
	}
	if got := *report.WallSeconds; got < 0.05 || got > 10 {
		t.Errorf("wall_seconds = %v", got)
	}
}

func TestFailedStartLeavesNothingAndIsReported(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "")
	opts.Spec.Process.Args = []string{"/missing"}
	report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
	var start *runtime.StartError
	if !errors.As(err, &start) || start.ExitCode != 127 {
		t.Errorf("Run() = %v, want a StartError with 127", err)
	}
	if report.Reason != runtime.ReasonStartFailed || report.ExitCode != 127 || report.Error == nil || report.StartedAt != nil {
		t.Errorf("report = %+v", report)
	}
}

func TestGCLeavesWhatBelongsToNobody(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "", "true")
	c, err := rt.Create(opts)
	if err != nil {
		t.Fatal(err)
	}
	gc := func(o runtime.GCOptions) []runtime.Leftover {
		t.Helper()
		found, err := rt.GC(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := gc(runtime.GCOptions{Stopped: true}); len(found) != 0 {
		t.Errorf("GC(Stopped) took a created container: %+v", found)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if found := gc(runtime.GCOptions{}); len(found) != 0 {
		t.Errorf("GC() took a stopped container: %+v", found)
	}
	if found := gc(runtime.GCOptions{Stopped: true, DryRun: true}); len(found) != 1 || found[0].Removed {
		t.Errorf("GC(Stopped, DryRun) = %+v", found)
	}
	if found := gc(runtime.GCOptions{Stopped: true}); len(found) != 1 || !found[0].Removed || found[0].ID != opts.ID {
		t.Errorf("GC(Stopped) = %+v", found)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
