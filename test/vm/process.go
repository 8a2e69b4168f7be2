package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// ending is the end of a process: err is what exec.Cmd.Wait returned.
type ending struct{ err error }

// startTied starts cmd, whose Pdeathsig is set, and returns where its end is
// reported. The signal is sent when the starting thread ends, not the process,
// so that the thread is kept until then.
func startTied(cmd *exec.Cmd) (<-chan ending, error) {
	started := make(chan error, 1)
	ended := make(chan ending, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- ending{cmd.Wait()}
		}
	}()
	return ended, <-started
}

// runTied runs cmd, which leads a process group, to its end; the whole group
// is killed when ctx ends.
func runTied(ctx context.Context, cmd *exec.Cmd) error {
	ended, err := startTied(cmd)
	if err != nil {
		return err
	}
	select {
	case end := <-ended:
		return end.err
	case <-ctx.Done():
		killGroup(cmd)
		// Killed as meant: how it ended says nothing.
		<-ended
		return context.Cause(ctx)
	}
}

// killGroup kills cmd and the process group that it leads, if it leads one. The
// only error there is says that they have ended already.
func killGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Setpgid {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	_ = cmd.Process.Kill()
}

// tailSize is how much of an output a tail keeps, in bytes.
const tailSize = 64 << 10

// tail is a writer that keeps the end of what was written. It may be used by
// several goroutines.
type tail struct {
	mu   sync.Mutex
	kept []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if excess := len(t.kept) - tailSize; excess > 0 {
		t.kept = append(t.kept[:0], t.kept[excess:]...)
	}
	return len(p), nil
}

// lines returns at most the last n lines.
func (t *tail) lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(t.kept), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
