package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/bundles"
)

// operation is what a contender is asked to do.
type operation string

const (
	// opRun runs a container from beginning to end.
	opRun operation = "run"
	// opExec runs a program in a container that runs already.
	opExec operation = "exec"
	// opSteps creates, starts and deletes a container by a process each, as
	// engines do.
	opSteps operation = "create-start-delete"
)

// variant is one configuration in which the contenders are compared.
type variant struct {
	Name      string    `json:"name"`
	Operation operation `json:"operation"`
	Seccomp   bool      `json:"seccomp"`
	Limits    bool      `json:"limits"`
}

// allVariants returns them in the order of the tables.
func allVariants() []variant {
	return []variant{
		{Name: "plain", Operation: opRun},
		{Name: "seccomp", Operation: opRun, Seccomp: true},
		{Name: "limits", Operation: opRun, Limits: true},
		{Name: "seccomp+limits", Operation: opRun, Seccomp: true, Limits: true},
		{Name: "exec", Operation: opExec},
		{Name: "exec+seccomp", Operation: opExec, Seccomp: true},
		{Name: "create-start-delete", Operation: opSteps},
		{Name: "create-start-delete+seccomp", Operation: opSteps, Seccomp: true},
	}
}

// title says for people what a variant has.
func (v variant) title() string {
	with := func(has bool) string {
		if has {
			return "with"
		}
		return "without"
	}
	switch v.Operation {
	case opExec:
		return fmt.Sprintf("%s: a program in a container that runs, %s seccomp", v.Name, with(v.Seccomp))
	case opSteps:
		return fmt.Sprintf("%s: the sum of three processes, %s seccomp", v.Name, with(v.Seccomp))
	default:
		return fmt.Sprintf("%s: %s seccomp, %s limits", v.Name, with(v.Seccomp), with(v.Limits))
	}
}

// parseVariants reads a comma-separated list of names. Their order is that of
// allVariants.
func parseVariants(list string) ([]variant, error) {
	wanted := strings.Split(list, ",")
	var found []variant
	for _, v := range allVariants() {
		if slices.Contains(wanted, v.Name) {
			found = append(found, v)
		}
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == v.Name })
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no variant %q; there are %s", wanted[0], variantNames())
	}
	return found, nil
}

func variantNames() string {
	var names []string
	for _, v := range allVariants() {
		names = append(names, v.Name)
	}
	return strings.Join(names, ",")
}

// The limits of the variants that have them. One CPU is more than /bin/true
// needs, so its quota is written but never felt.
const (
	memoryLimit = 64 << 20
	cpuLimit    = 1
	pidsLimit   = 64
)

// oldestVersion is what crun 1.8 of Debian 12 still reads: it refuses 1.1 and
// later ("unknown version specified"). Nothing newer is in these bundles.
const oldestVersion = "1.0.2"

// spec returns the configuration that all runtimes get. cgroup is the absolute
// path of the container's group, the same for all, as each would choose another.
func (v variant) spec(cgroup string) (*specs.Spec, error) {
	program := "/bin/true"
	if v.Operation == opExec {
		program = "/bin/idle"
	}
	options := []bundles.Option{
		bundles.WithArgs(program),
		bundles.WithTerminal(false),
		func(spec *specs.Spec) { spec.Linux.CgroupsPath = cgroup },
	}
	if v.Limits {
		options = append(options, bundles.WithMemory(memoryLimit), bundles.WithCPUs(cpuLimit), bundles.WithPids(pidsLimit))
	}
	spec, err := bundles.Default(options...)
	if err != nil {
		return nil, err
	}
	spec.Version = oldestVersion
	if !v.Seccomp {
		spec.Linux.Seccomp = nil
	}
	return spec, nil
}

// programs are the files of a root filesystem's /bin.
type programs map[string][]byte

// writeBundle makes the bundle dir/NAME of v.
func (v variant) writeBundle(dir, cgroup string, bin programs) error {
	rootfs := filepath.Join(v.bundle(dir), "rootfs")
	for _, name := range []string{"bin", "dev", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, name), 0o755); err != nil {
			return fmt.Errorf("make root filesystem of bundle %q: %w", v.Name, err)
		}
	}
	for name, program := range bin {
		if err := os.WriteFile(filepath.Join(rootfs, "bin", name), program, 0o755); err != nil {
			return fmt.Errorf("write program of bundle %q: %w", v.Name, err)
		}
	}
	spec, err := v.spec(cgroup)
	if err != nil {
		return err
	}
	return bundles.Write(v.bundle(dir), spec)
}

func (v variant) bundle(dir string) string { return filepath.Join(dir, v.Name) }
