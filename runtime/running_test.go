package runtime_test

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// runOptions are those of a process that supervises many.
func runOptions(t *testing.T, id string, args ...string) runtime.RunOptions {
	t.Helper()
	return runtime.RunOptions{CreateOptions: options(t, id, args...), CallerIsInit: true}
}

func TestStartReturnsWhenTheProgramRuns(t *testing.T) {
	rt := newRuntime(t)
	tests := []struct {
		name string
		args []string
		end  func(*runtime.Running)
		want runtime.Reason
		code int
	}{
		{"exit", []string{"exit", "3"}, func(*runtime.Running) {}, runtime.ReasonExited, 3},
		{"stop", []string{"signal", "trap", "TERM", "exit", "5"}, func(c *runtime.Running) { c.Stop(syscall.SIGTERM, time.Minute) }, runtime.ReasonExited, 5},
		{"kill", []string{"sleep", "1m"}, func(c *runtime.Running) { c.Stop(syscall.SIGTERM, 0) }, runtime.ReasonKilled, 137},
		{"signal", []string{"sleep", "1m"}, func(c *runtime.Running) {
			if err := c.Container().Kill(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}, runtime.ReasonSignalled, 137},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := runOptions(t, "", test.args...)
			opts.ID = strings.ReplaceAll(opts.ID, "/", "-")
			ready, output := io.Pipe()
			opts.Stdout = output
			c, err := rt.Start(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if test.args[0] == "signal" {
				if _, err := io.ReadAtLeast(ready, make([]byte, 16), len("ready")); err != nil {
					t.Error(err)
				}
			}
			if err := ready.Close(); err != nil {
				t.Error(err)
			}
			test.end(c)
			report, err := c.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if report.Reason != test.want || report.ExitCode != test.code || report.StartedAt == nil {
				t.Errorf("report: reason %s, exit code %d, started %v; want %s, %d", report.Reason, report.ExitCode, report.StartedAt, test.want, test.code)
			}
			c.Stop(syscall.SIGTERM, time.Minute) // of what has ended: nothing
		})
	}
}

func TestStartTellsWhyItFailed(t *testing.T) {
	rt := newRuntime(t)
	opts := runOptions(t, "")
	opts.Spec.Process.Args = []string{"/no/such/program"}
	c, err := rt.Start(t.Context(), opts)
	if start := (*runtime.StartError)(nil); !errors.As(err, &start) {
		t.Fatalf("Start() = %v, want a StartError", err)
	}
	report, waitErr := c.Wait()
	if !errors.Is(waitErr, err) || report.Reason != runtime.ReasonStartFailed || report.ExitCode != 127 || report.Error == nil {
		t.Errorf("Wait() = %+v, %v", report, waitErr)
	}
}

func TestStartedContainersKeepNoThread(t *testing.T) {
	rt := newRuntime(t)
	const number = 12
	var running []*runtime.Running
	for i := range number {
		c, err := rt.Start(t.Context(), runOptions(t, strconv.Itoa(i), "sleep", "1m"))
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	// Go's own: one a CPU, the monitor, and those that were in a system call.
	if len(threads) > number {
		t.Errorf("%d containers keep %d threads", number, len(threads))
	}
	for _, c := range running {
		c.Stop(syscall.SIGKILL, 0)
	}
	for _, c := range running {
		if _, err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}
