package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

// lives are lives of an environment on hosts that are made of namespaces, each in a
// process of its own; see inNamespaces.
var lives = map[string]func(Options) error{"egress": lifeWithEgress, "v2": lifeOnV2, "full-disk": lifeOnFullDisk}

func live(life func(Options) error, text string) int {
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = life(Options{Roots: o.Roots, Plan: o.Plan, Executable: "/proc/self/exe"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// inNamespaces runs one of lives in new namespaces.
func inNamespaces(t *testing.T, life string, flags uintptr, opts Options) {
	t.Helper()
	text, err := json.Marshal(order{Roots: opts.Roots, Plan: opts.Plan})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(opts.Executable, life, string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// lifeWithEgress launches with a way out, in a network namespace that stands for the
// host's.
func lifeWithEgress(opts Options) error {
	l, err := Launch(context.Background(), opts)
	if err != nil {
		return err
	}
	there, err := egress.Remains(l.Record.Egress)
	if err != nil || len(there) != 2 {
		return fmt.Errorf("with egress there is on the host: %q, %w", there, err)
	}
	left, err := environment.Audit(context.Background(), l.Record, environment.RemoveOptions{})
	if err != nil || len(left) != 0 {
		return fmt.Errorf("an audit of a living one found %v, %w", left, err)
	}
	status, err := l.Client.Status(context.Background())
	if err != nil {
		return err
	}
	if seen := status.Instances[0].Source; seen != "interface true, host's namespace true" {
		return fmt.Errorf("the supervisor sees %s", seen)
	}
	l.Kill()
	left, err = environment.Audit(context.Background(), l.Record, environment.RemoveOptions{})
	if err != nil || !slices.ContainsFunc(left, func(l environment.Leftover) bool { return l.Kind == environment.LeftNetwork }) {
		return fmt.Errorf("an audit of a dead one found %v, %w", left, err)
	}
	return removed(l)
}

// removed removes an environment that has ended and wants nothing left.
func removed(l *Launched) error {
	if err := l.Record.Roots.Remove(context.Background(), l.Record.Name, environment.RemoveOptions{}); err != nil {
		return err
	}
	left, err := environment.Audit(context.Background(), l.Record, environment.RemoveOptions{})
	if err != nil || len(left) != 0 {
		return fmt.Errorf("left: %v, %w", left, err)
	}
	return nil
}

// lifeOnV2 has cgroup v2 alone, without controllers: the supervisor is born in its
// group.
func lifeOnV2(opts Options) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
		return err
	}
	l, err := Launch(context.Background(), opts)
	if err != nil {
		return err
	}
	status, err := l.Client.Status(context.Background())
	if err != nil {
		return err
	}
	if groups := status.Instances[0].Name; !strings.Contains(groups, "0::"+l.Record.Cgroup+"/"+supervisorGroup+"\n") {
		return fmt.Errorf("the supervisor is in the groups %s", groups)
	}
	if err := l.Client.Stop(context.Background(), control.StopRequest{Reason: "test"}, nil); err != nil {
		return err
	}
	return removed(l)
}

// lifeOnFullDisk launches on disks that have room for so many files and no more: it
// succeeds, or says why and leaves nothing.
func lifeOnFullDisk(opts Options) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	dir := filepath.Dir(opts.Roots.State)
	failures := 0
	for files := 1; files < 40; files++ {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("nr_inodes=%d", files)); err != nil {
			return err
		}
		l, err := Launch(context.Background(), opts)
		switch {
		case err == nil:
			if err := l.Client.Stop(context.Background(), control.StopRequest{Reason: "test"}, nil); err != nil {
				return err
			}
			if err := removed(l); err != nil {
				return err
			}
		case !errors.Is(err, unix.ENOSPC):
			return fmt.Errorf("with room for %d files: %w", files, err)
		default:
			failures++
		}
		if left := leftOnDisk(opts.Roots); len(left) > 0 {
			return fmt.Errorf("with room for %d files: left: %v", files, left)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return err
		}
	}
	if failures < 10 || failures > 30 {
		return fmt.Errorf("%d launches failed", failures)
	}
	return nil
}
