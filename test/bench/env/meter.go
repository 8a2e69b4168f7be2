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
	group  string   // its name in every hierarchy; "" without cpuacct
	others []string // groups of engines that put containers elsewhere
}

const (
	hierarchies = "/sys/fs/cgroup"
	cpuacct     = hierarchies + "/cpuacct"
)

// newMeter makes a group of one name in every hierarchy, that of v2 too, where a
// hybrid host has one: environments are put below a group that their maker is in
// everywhere, and their CPU time is this group's then.
func newMeter() (_ *meter, err error) {
	if _, err := os.Stat(cpuacct + "/cpuacct.usage"); errors.Is(err, fs.ErrNotExist) {
		return &meter{}, nil
	}
	m := &meter{group: "sandboxrun-bench-env-" + strconv.Itoa(os.Getpid()), others: []string{cpuacct + "/libpod_parent"}}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	all, err := filepath.Glob(hierarchies + "/*/cgroup.procs")
	if err != nil {
		return nil, err
	}
	for _, procs := range all {
		root := filepath.Dir(procs)
		group := filepath.Join(root, m.group)
		if err := os.Mkdir(group, 0o755); err != nil {
			return nil, err
		}
		if filepath.Base(root) != "cpuset" {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(group, file), value, 0); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// holds tells whether an environment is below the group, so that what it costs is counted.
func (m *meter) holds(environment string) bool {
	_, err := os.Stat(filepath.Join(cpuacct, m.group, "sandboxrun-env-"+environment))
	return m.group == "" || err == nil
}

// close removes the groups, which have to be empty.
func (m *meter) close() error {
	if m.group == "" {
		return nil
	}
	groups, err := filepath.Glob(filepath.Join(hierarchies, "*", m.group))
	for _, group := range groups {
		err = errors.Join(err, removeGroup(group))
	}
	return err
}

func removeGroup(group string) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := syscall.Rmdir(group)
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
	for _, group := range append([]string{filepath.Join(cpuacct, m.group)}, m.others...) {
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

// enterGroup is a script that executes its arguments in the group, which is called
// as it is. A process of a hybrid host need not be in the group of v2, where no
// controller counts.
const enterGroup = `for group in ` + hierarchies + `/*/"$0"; do [ -e "$group/cgroup.controllers" ] || echo $$ >"$group/cgroup.procs" || exit; done; exec "$@"`

// command is one that runs in the group, with what it starts.
func (m *meter) command(ctx context.Context, args ...string) *exec.Cmd {
	if m.group != "" {
		args = append([]string{"sh", "-c", enterGroup, m.group}, args...)
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
