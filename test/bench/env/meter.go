package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cost is what something took. CPU is negative where it is not known.
type cost struct{ wall, cpu time.Duration }

// meter runs commands in a cgroup whose CPU time it reads.
type meter struct {
	group  string   // directory; "" without cpuacct
	others []string // groups of engines that put containers elsewhere
}

const cpuacct = "/sys/fs/cgroup/cpuacct"

// newMeter makes a group below this process's own.
func newMeter() (*meter, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || !strings.Contains(","+fields[1]+",", ",cpuacct,") {
			continue
		}
		m := &meter{
			group:  filepath.Join(cpuacct, fields[2], "sandboxrun-bench-env-"+strconv.Itoa(os.Getpid())),
			others: []string{cpuacct + "/libpod_parent"},
		}
		return m, os.Mkdir(m.group, 0o755)
	}
	return &meter{}, nil
}

// close removes the group, which has to be empty.
func (m *meter) close() error {
	if m.group == "" {
		return nil
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := syscall.Rmdir(m.group)
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		<-time.After(10 * time.Millisecond) // what was killed is still on its way out
	}
}

// used is the CPU time so far, or negative.
func (m *meter) used() (time.Duration, error) {
	if m.group == "" {
		return -1, nil
	}
	var sum time.Duration
	for _, group := range append([]string{m.group}, m.others...) {
		text, err := os.ReadFile(filepath.Join(group, "cpuacct.usage"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no engine has made it yet
		}
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// command is one that runs in the group, with what it starts.
func (m *meter) command(ctx context.Context, args ...string) *exec.Cmd {
	if m.group != "" {
		args = append([]string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, m.group}, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// run runs a command to its end. The error has what it said. Its output goes to a
// file, since what it leaves running may hold the descriptor.
func (m *meter) run(ctx context.Context, env []string, args ...string) error {
	said, err := os.CreateTemp("", "bench-env-said-")
	if err != nil {
		return err
	}
	defer said.Close()
	if err := os.Remove(said.Name()); err != nil {
		return err
	}
	cmd := m.command(ctx, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		text := make([]byte, 4096)
		n, _ := said.ReadAt(text, 0)
		return fmt.Errorf("%q: %w: %s", args, err, text[:n])
	}
	return nil
}

// measure tells what f cost.
func (m *meter) measure(f func() error) (cost, error) {
	before, err := m.used()
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return cost{}, err
	}
	wall := time.Since(began)
	after, err := m.used()
	if before < 0 || err != nil {
		return cost{wall, -1}, err
	}
	return cost{wall, after - before}, nil
}
