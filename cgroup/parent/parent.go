package parent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// Create makes the group at path ("/sandboxrun/env-x") in every hierarchy, sets the limits of r (nil for
// none) and, on v2, enables every controller that the host offers on the way and for the groups
// below. It is idempotent: a group that exists gets the limits again. When it fails, what it made is
// removed. The caller records the path before the call, so that a crash leaves nothing unknown, and
// removes the group in the end by cgroup.Host.Group(path).
//
// Limits that the host cannot enforce are the caller's to find first (cgroup.Host.Missing).
func Create(ctx context.Context, host *cgroup.Host, path string, r *specs.LinuxResources) (_ *cgroup.Group, retErr error) {
	group, err := host.Group(path)
	if err != nil {
		return nil, err
	}
	existed := len(group.Existing()) > 0
	defer func() {
		if retErr == nil || existed {
			return
		}
		if err := group.Remove(context.WithoutCancel(ctx)); err != nil {
			retErr = errors.Join(retErr, err)
		}
	}()
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if host.Mode == cgroup.Unified {
		err = createV2(host.Root, path, r)
	} else {
		err = createV1(host, path, r)
	}
	if err != nil {
		return nil, fmt.Errorf("create parent cgroup %s: %w", path, err)
	}
	return group, nil
}

func createV1(host *cgroup.Host, path string, r *specs.LinuxResources) error {
	if len(r.Unified) > 0 {
		return errors.New("linux.resources.unified needs a cgroup v2 host")
	}
	if _, err := cgroup1.New(cgroup1.StaticPath(path), r); err != nil {
		return err
	}
	if host.Mode != cgroup.Hybrid {
		return nil
	}
	// The library knows nothing of the v2 tree, where a hybrid host has pressure figures and cgroup.kill.
	return os.MkdirAll(host.Root+"/unified"+path, 0o755)
}

func createV2(root, path string, r *specs.LinuxResources) error {
	resources, err := toV2(r)
	if err != nil {
		return err
	}
	if err := checkUnoccupied(root, path); err != nil {
		return err
	}
	// The group first and without limits: its controllers' files aren't there yet.
	manager, err := cgroup2.NewManager(root, path, &cgroup2.Resources{})
	if err != nil {
		return err
	}
	offered, err := manager.RootControllers()
	if err != nil {
		return err
	}
	if err := enableBelow(root, path, offered); err != nil {
		return err
	}
	if err := manager.Update(resources); err != nil {
		return err
	}
	for file, value := range r.Unified {
		if strings.ContainsRune(file, '/') {
			return fmt.Errorf("linux.resources.unified key %q is no file name", file)
		}
		if err := os.WriteFile(filepath.Join(root, path, file), []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

// checkUnoccupied refuses a path on which a group has processes: nothing below it could have limits.
// The kernel would say so only for some controllers, and turn what is below into threaded groups for
// others. The real root, which has no cgroup.type, may have processes.
func checkUnoccupied(root, path string) error {
	dir := root
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			dir += "/" + part
		}
		if _, err := os.Stat(dir + "/cgroup.type"); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			return err
		}
		procs, err := os.ReadFile(dir + "/cgroup.procs")
		if err != nil {
			return fmt.Errorf("cannot use the groups below %s: %w; choose another path", dir, err)
		}
		if len(procs) > 0 {
			return fmt.Errorf("cannot limit groups below %s: processes are in it; move them to a group of their own or choose another path", dir)
		}
	}
	return nil
}

// enableBelow enables controllers in subtree_control from the root down to the group itself. One that
// cannot be enabled somewhere is left out there: a limit that needs it then fails by name.
func enableBelow(root, path string, controllers []string) error {
	dir := root
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			dir += "/" + part
		}
		for _, controller := range controllers {
			err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+controller), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) &&
				!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
				return err
			}
		}
	}
	return nil
}

// toV2 converts limits by the library after taking out what it would write wrongly: it has no form for
// "unlimited", which is what a new group is anyway, and subtracts swap and memory without a check.
func toV2(r *specs.LinuxResources) (*cgroup2.Resources, error) {
	in := *r
	if r.Memory != nil {
		memory := *r.Memory
		memory.Limit = positive(memory.Limit)
		memory.Swap = positive(memory.Swap)
		memory.Reservation = positive(memory.Reservation)
		if memory.Swap != nil && (memory.Limit == nil || *memory.Swap < *memory.Limit) {
			return nil, errors.New("cannot limit memory and swap: the limit on both has to come with one on memory that is no larger")
		}
		in.Memory = &memory
	}
	if r.CPU != nil && r.CPU.Quota != nil && r.CPU.Period == nil {
		// Without a period the library would leave the quota out.
		cpu := *r.CPU
		period := uint64(100_000)
		cpu.Period = &period
		in.CPU = &cpu
	}
	if r.Pids != nil && positive(r.Pids.Limit) == nil {
		in.Pids = nil
	}
	return cgroup2.ToResources(&in), nil
}

func positive(n *int64) *int64 {
	if n == nil || *n <= 0 {
		return nil
	}
	return n
}
