package runtime_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// TestEveryTransition tries every operation in every state of a container. It
// is either legal, or refused by the error that callers test for.
func TestEveryTransition(t *testing.T) {
	requireRoot(t)
	images := t.TempDir()
	operations := []struct {
		name string
		do   func(rt *runtime.Runtime, opts runtime.CreateOptions) error
	}{
		{"create", func(rt *runtime.Runtime, opts runtime.CreateOptions) error {
			_, err := rt.Create(opts)
			return err
		}},
		{"start", loaded((*runtime.Container).Start)},
		{"pause", loaded((*runtime.Container).Pause)},
		{"resume", loaded((*runtime.Container).Resume)},
		{"kill", loaded(func(c *runtime.Container) error { return c.Kill(syscall.SIGUSR1) })},
		{"kill all", loaded(func(c *runtime.Container) error { return c.KillAll(context.Background(), syscall.SIGUSR1) })},
		{"delete", func(rt *runtime.Runtime, opts runtime.CreateOptions) error {
			return rt.Delete(context.Background(), opts.ID, false)
		}},
		{"delete force", func(rt *runtime.Runtime, opts runtime.CreateOptions) error {
			return rt.Delete(context.Background(), opts.ID, true)
		}},
		{"exec", loaded(func(c *runtime.Container) error {
			process, err := c.Exec(runtime.ExecOptions{Process: &specs.Process{Args: []string{"/bin/workload", "true"}, Cwd: "/"}})
			if err != nil {
				return err
			}
			if status, err := process.Wait(); err != nil || status.Code != 0 {
				return fmt.Errorf("exec ended with %+v, %w", status, err)
			}
			return nil
		})},
		{"update", loaded(func(c *runtime.Container) error {
			limit := int64(100)
			resources := specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
			return c.Update(context.Background(), runtime.UpdateOptions{Resources: resources})
		})},
		{"checkpoint", func(rt *runtime.Runtime, opts runtime.CreateOptions) error {
			return loaded(func(c *runtime.Container) error {
				saved := runtime.CRIUOptions{ImageDir: filepath.Join(images, opts.ID)}
				return c.Checkpoint(context.Background(), runtime.CheckpointOptions{CRIUOptions: saved})
			})(rt, opts)
		}},
	}
	// One row a state, one column an operation as above; nil: legal.
	states := []struct {
		name  string
		reach func(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions)
		want  []error
	}{
		{"creating", reachCreating, []error{
			runtime.ErrExists, runtime.ErrNotFound, runtime.ErrNotFound, runtime.ErrNotFound, runtime.ErrNotFound, runtime.ErrNotFound,
			runtime.ErrWrongState, runtime.ErrWrongState, runtime.ErrNotFound, runtime.ErrNotFound, runtime.ErrNotFound,
		}},
		{"created", reachCreated, []error{
			runtime.ErrExists, nil, nil, runtime.ErrNotPaused, nil, nil,
			nil, nil, nil, nil, runtime.ErrWrongState,
		}},
		{"running", reachRunning, []error{
			runtime.ErrExists, runtime.ErrWrongState, nil, runtime.ErrNotPaused, nil, nil,
			runtime.ErrWrongState, nil, nil, nil, nil,
		}},
		{"paused", reachPaused, []error{
			runtime.ErrExists, runtime.ErrWrongState, runtime.ErrPaused, nil, nil, nil,
			runtime.ErrWrongState, nil, runtime.ErrWrongState, nil, nil,
		}},
		{"stopped", reachStopped, []error{
			runtime.ErrExists, runtime.ErrWrongState, runtime.ErrNotRunning, runtime.ErrNotPaused, runtime.ErrNotRunning, runtime.ErrNotRunning,
			nil, nil, runtime.ErrWrongState, runtime.ErrNotRunning, runtime.ErrWrongState,
		}},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			for i, operation := range operations {
				t.Run(operation.name, func(t *testing.T) {
					if operation.name == "checkpoint" && state.want[i] == nil {
						requireCRIU(t)
					}
					rt := shortRuntime(t)
					opts := options(t, "", "signal")
					// Its slashes are none of an ID.
					opts.ID = fmt.Sprintf("transition-%d-%s-%d", os.Getpid(), state.name, i)
					t.Cleanup(func() {
						if err := rt.Delete(context.Background(), opts.ID, true); err != nil {
							t.Error(err)
						}
					})
					state.reach(t, rt, &opts)
					err := operation.do(rt, opts)
					if !errors.Is(err, state.want[i]) || state.want[i] == nil && err != nil {
						t.Errorf("%s in state %s: %v, want %v", operation.name, state.name, err, state.want[i])
					}
					if state.want[i] != nil && runtime.ExitCode(err) != 1 {
						t.Errorf("exit code of %v is %d, want 1", err, runtime.ExitCode(err))
					}
				})
			}
		})
	}
}

// requireCRIU skips a test where criu does not work, which it has to in the VM.
func requireCRIU(t *testing.T) {
	t.Helper()
	if err := exec.Command("criu", "check").Run(); err != nil && os.Getenv("SANDBOXRUN_IN_VM") != "1" {
		t.Skipf("needs a criu that works on this kernel: %v", err)
	}
}

// shortRuntime is newRuntime for a test whose name is no ID.
func shortRuntime(t *testing.T) *runtime.Runtime {
	t.Helper()
	root := t.TempDir()
	rt, err := runtime.New(runtime.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := filepath.Glob(filepath.Join(root, "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return rt
}

// loaded makes an operation on a container one that finds it first, as another
// process would.
func loaded(do func(*runtime.Container) error) func(*runtime.Runtime, runtime.CreateOptions) error {
	return func(rt *runtime.Runtime, opts runtime.CreateOptions) error {
		c, err := rt.Load(opts.ID)
		if err != nil {
			return err
		}
		return do(c)
	}
}

// reachCreating leaves a Create in a hook until the test ends.
func reachCreating(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) {
	dir := t.TempDir()
	entered, leave := filepath.Join(dir, "entered"), filepath.Join(dir, "leave")
	for _, fifo := range []string{entered, leave} {
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held := *opts
	spec := *opts.Spec
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
		Path: "/bin/sh", Args: []string{"sh", "-c", "echo >" + entered + "; read x <" + leave},
	}}}
	held.Spec = &spec
	done := make(chan error, 1)
	go func() {
		_, err := rt.Create(held)
		done <- err
	}()
	wait, err := os.Open(entered)
	if err != nil {
		t.Fatal(err)
	}
	defer wait.Close()
	if _, err := io.ReadAll(wait); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(leave, []byte("\n"), 0); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("the held Create() = %v", err)
		}
	})
}

func reachCreated(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) {
	create(t, rt, opts)
}

func create(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) *runtime.Container {
	t.Helper()
	c, err := rt.Create(*opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reachRunning(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) {
	running(t, rt, opts)
}

// running returns when the program handles signals.
func running(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) *runtime.Container {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	opts.Stdout = writer
	c := create(t, rt, opts)
	writer.Close()
	opts.Stdout = nil
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the program says %q, %v", line, err)
	}
	return c
}

func reachPaused(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) {
	if err := running(t, rt, opts).Pause(); err != nil {
		t.Fatal(err)
	}
}

func reachStopped(t *testing.T, rt *runtime.Runtime, opts *runtime.CreateOptions) {
	c := running(t, rt, opts)
	if err := c.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A handle that saw a container paused has to follow it back to created, which
// libcontainer's own does not.
func TestCreatedContainerCanBePausedAndResumed(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "", "true")
	c := create(t, rt, &opts)
	defer func() {
		if err := rt.Delete(t.Context(), opts.ID, true); err != nil {
			t.Error(err)
		}
	}()
	check := func(want string) {
		t.Helper()
		if state, err := c.State(); err != nil || state.Status != want {
			t.Errorf("status %q, %v; want %q", state.Status, err, want)
		}
	}
	check("created")
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	check("paused")
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	check("created")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if exit, err := c.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("Wait() = %+v, %v", exit, err)
	}
	check("stopped")
}

// Here the exec hangs since it comes into a frozen cgroup.
func TestContainerCanBeKilledWhileAnExecHangs(t *testing.T) {
	requireRoot(t)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("on cgroup v2 libcontainer's first stage of an exec, which is outside of the container's PID namespace, is born frozen and outlives it")
	}
	rt := newRuntime(t)
	opts := options(t, "", "signal")
	c := running(t, rt, &opts)
	defer func() {
		if err := rt.Delete(t.Context(), opts.ID, true); err != nil {
			t.Error(err)
		}
	}()
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	execEnded := make(chan error, 1)
	go func() {
		_, err := c.Exec(runtime.ExecOptions{Process: &specs.Process{Args: []string{"/bin/workload", "true"}, Cwd: "/"}, IgnorePaused: true})
		execEnded <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		pids, err := c.Processes()
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the exec has not come into the cgroup")
		}
	}
	killed := make(chan error, 1)
	go func() { killed <- c.Kill(syscall.SIGKILL) }()
	select {
	case err := <-killed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Kill waits for the exec")
	}
	if exit, err := c.Wait(); err != nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("Wait() = %+v, %v", exit, err)
	}
	if err := <-execEnded; err == nil {
		t.Error("the exec has come to its end")
	}
}
