package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/cgroup/parent"
)

// supervisorGroup is the name of the supervisor's own group below the environment's. No
// instance can have it: their names begin with a letter or digit.
const supervisorGroup = "_supervisor"

// groups are the control groups that a launch makes: the environment's, with the
// limits for all services together, and the supervisor's below it.
type groups struct {
	host      *cgroup.Host
	path      string
	paths     map[string]string // directories by controller
	resources *specs.LinuxResources
}

// planGroups decides and changes nothing.
func planGroups(opts Options) (*groups, error) {
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	path, err := host.Place("sandboxrun-env-" + opts.Plan.Name)
	if err != nil {
		return nil, err
	}
	group, err := host.Group(path)
	if err != nil {
		return nil, err
	}
	resources := &specs.LinuxResources{}
	if err := opts.Plan.Limits.Apply(resources); err != nil {
		return nil, fmt.Errorf("limits of the environment: %w", err)
	}
	if missing := host.Missing(resources, path, false); len(missing) > 0 {
		if !opts.IgnoreMissing {
			return nil, missingError(missing)
		}
		host.Drop(resources, missing)
	}
	return &groups{host: host, path: path, paths: group.Paths(), resources: resources}, nil
}

func missingError(missing []cgroup.Missing) error {
	problems := []error{ErrLimits}
	for _, m := range missing {
		problems = append(problems, errors.New(m.String()))
	}
	return fmt.Errorf("limits of the environment: %w", errors.Join(problems...))
}

// create makes both groups. What a failure leaves is in the record.
func (g *groups) create(ctx context.Context) error {
	group, err := parent.Create(ctx, g.host, g.path, g.resources)
	if err != nil {
		return err
	}
	for controller, dir := range group.Paths() {
		if err := os.Mkdir(g.below(dir), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make the supervisor's cgroup: %w", err)
		}
		if controller != "cpuset" {
			continue
		}
		// On v1 a group has no CPUs until it is given some, and takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := copyValue(dir, g.below(dir), file); err != nil {
				return fmt.Errorf("make the supervisor's cgroup: %w", err)
			}
		}
	}
	return nil
}

func (g *groups) below(dir string) string { return filepath.Join(dir, supervisorGroup) }

func copyValue(from, to, file string) error {
	value, err := os.ReadFile(filepath.Join(from, file))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, file), []byte(strings.TrimSpace(string(value))), 0)
}

// birthplace opens the supervisor's group, for clone3(2) with CLONE_INTO_CGROUP; nil
// on v1, which has no such thing.
func (g *groups) birthplace() (*os.File, error) {
	if g.host.Mode != cgroup.Unified {
		return nil, nil
	}
	return os.Open(g.below(g.paths[""]))
}

// move puts a process that was not born there into the supervisor's groups.
func (g *groups) move(pid int) error {
	if g.host.Mode == cgroup.Unified {
		return nil
	}
	moved := map[string]bool{}
	for _, dir := range g.paths {
		if moved[dir] {
			continue // two controllers in one hierarchy
		}
		moved[dir] = true
		if err := os.WriteFile(filepath.Join(g.below(dir), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("move the supervisor into its cgroup: %w", err)
		}
	}
	return nil
}
