package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sample is what one run cost.
type sample struct {
	CPU  time.Duration `json:"cpu_ns"`
	Wall time.Duration `json:"wall_ns"`
}

// meter runs commands one at a time and measures them. It is for a process that
// has no other children: it waits for whatever child there is.
type meter struct {
	null    *os.File // the commands' input and output
	stderr  *os.File // what the current command says; read when it fails
	timeout time.Duration
}

// newMeter makes the calling process the reaper of its orphaned descendants.
func newMeter(stderrPath string, timeout time.Duration) (*meter, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// O_APPEND: every command starts at the file's end, wherever ours is.
	stderr, err := os.OpenFile(stderrPath, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		null.Close()
		return nil, err
	}
	return &meter{null: null, stderr: stderr, timeout: timeout}, nil
}

func (m *meter) close() {
	m.null.Close()
	m.stderr.Close()
}

// errTimeout says that a command had to be killed.
var errTimeout = errors.New("it did not end in time")

// measure runs command lines one after the other, each to its end, and adds up
// what they cost. The error says what a command said if it did not exit with 0.
func (m *meter) measure(steps ...[]string) (sample, error) {
	var sum sample
	for i, argv := range steps {
		// What create leaves waits for start.
		waits := i == 0 && len(steps) > 1
		cost, err := m.step(argv, !waits)
		sum.CPU += cost.CPU
		sum.Wall += cost.Wall
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// detach runs argv to its end and lets others have the descendants that it
// leaves, so that measure does not wait for them.
func (m *meter) detach(argv []string) (retErr error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	defer func() {
		retErr = errors.Join(retErr, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)))
	}()
	_, err := m.step(argv, false)
	return err
}

func (m *meter) step(argv []string, orphansToo bool) (sample, error) {
	if err := m.stderr.Truncate(0); err != nil {
		return sample{}, err
	}
	began := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{m.null.Fd(), m.null.Fd(), m.stderr.Fd()},
		// A group of its own: ^C at the terminal is for bench, which lets the
		// command end; and the group can be killed as one.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return sample{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	stopWatch := m.watch(pid)
	status, used, err := wait(pid)
	wall := time.Since(began)
	var orphansUsed time.Duration
	var orphansErr error
	if orphansToo {
		orphansUsed, orphansErr = waitOrphans()
	}
	killed := stopWatch()
	switch err := errors.Join(err, orphansErr); {
	case err != nil:
		return sample{}, err
	case killed:
		return sample{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), errTimeout)
	case status != 0:
		return sample{}, fmt.Errorf("%s: %s: %s", strings.Join(argv, " "), describe(status), m.said())
	}
	return sample{CPU: used + orphansUsed, Wall: wall}, nil
}

// wait waits for one child, -1 for any, and returns its CPU time and that of
// the descendants it has waited for.
func wait(pid int) (syscall.WaitStatus, time.Duration, error) {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		_, err := syscall.Wait4(pid, &status, 0, &usage)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, 0, os.NewSyscallError("wait4", err)
		}
		return status, time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
	}
}

// waitOrphans waits until no child is left.
func waitOrphans() (time.Duration, error) {
	var sum time.Duration
	for {
		_, used, err := wait(-1)
		if errors.Is(err, syscall.ECHILD) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		sum += used
	}
}

// watch kills the command once its time is up. stop ends that and says whether
// it came to it.
func (m *meter) watch(pid int) (stop func() (killed bool)) {
	done, result := make(chan struct{}), make(chan bool)
	go func() {
		timer := time.NewTimer(m.timeout)
		defer timer.Stop()
		killed := false
		for {
			select {
			case <-done:
				result <- killed
				return
			case <-timer.C:
				killed = true
				killAll(pid)
				// The next generation arrives here as orphans.
				timer.Reset(10 * time.Millisecond)
			}
		}
	}()
	return func() bool { close(done); return <-result }
}

// killAll kills the command's process group, and children that left it.
func killAll(pid int) {
	syscall.Kill(-pid, syscall.SIGKILL) //nolint:errcheck // it may have ended by itself
	for _, child := range children() {
		syscall.Kill(child, syscall.SIGKILL) //nolint:errcheck // as above
	}
}

// children returns the process IDs of bench's children, orphans among them.
func children() []int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	var pids []int
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// said returns the command's standard error as one line.
func (m *meter) said() string {
	const most = 2000
	text, err := io.ReadAll(io.NewSectionReader(m.stderr, 0, most))
	if err != nil || len(text) == 0 {
		return "it said nothing"
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; ")
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "ended by signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
