package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// contender is one program that starts sandboxes.
type contender struct {
	Name string `json:"name"`
	// Path is absolute; "" if the program is missing.
	Path string `json:"path"`
	// Version is the first line that --version prints.
	Version string `json:"version"`
	// OCI: it reads bundles as `runc run` does, so it takes part in every
	// variant; others only in the plain one.
	OCI bool `json:"oci"`
	// HidesUnified: it runs where a hybrid host's unified hierarchy is not
	// mounted, because it refuses this host otherwise.
	HidesUnified bool `json:"hides_unified"`
	// Package is the Debian package that has it.
	Package string `json:"-"`

	command func(path string, p place) []string
}

// place is where one run happens.
type place struct {
	id     string // the container's
	bundle string // directory with config.json and rootfs
	state  string // the runtime's state root
}

func (p place) rootfs() string { return filepath.Join(p.bundle, "rootfs") }

const (
	subject   = "sandboxrun" // what is judged
	reference = "runc"       // what it is judged by
)

// contenders returns all that are compared: the sandboxrun at path, more builds
// of it by name, and the peers.
func contenders(sandboxrun string, against []build) []contender {
	all := []contender{{Name: subject, Path: sandboxrun, OCI: true, command: ociRun}}
	for _, b := range against {
		all = append(all, contender{Name: b.name, Path: b.path, OCI: true, command: ociRun})
	}
	return append(all,
		contender{Name: reference, Path: "runc", OCI: true, Package: "runc", command: ociRun},
		contender{Name: "crun", Path: "crun", OCI: true, HidesUnified: refusedHybrid(), Package: "crun", command: ociRun},
		contender{Name: "bwrap", Path: "bwrap", Package: "bubblewrap", command: bwrapRun},
		contender{Name: "unshare", Path: "unshare", Package: "util-linux", command: unshareRun},
		contender{Name: "fork+exec", command: plainRun},
	)
}

// ociRun is in runc's form, which all three read.
func ociRun(path string, p place) []string {
	return []string{path, "--root", p.state, "run", "--bundle", p.bundle, p.id}
}

// bwrapRun mounts what the bundle's configuration mounts, as far as bwrap can.
func bwrapRun(path string, p place) []string {
	return []string{
		path, "--unshare-all", "--hostname", "sandboxrun",
		"--ro-bind", p.rootfs(), "/",
		"--proc", "/proc",
		"--dev", "/dev",
		"--mqueue", "/dev/mqueue",
		"--ro-bind", "/sys", "/sys",
		"/bin/true",
	}
}

// unshareRun makes the namespaces and nothing in them.
func unshareRun(path string, p place) []string {
	return []string{path, "--net", "--pid", "--mount", "--fork", "--uts", "--ipc", filepath.Join(p.rootfs(), "bin", "true")}
}

func plainRun(_ string, p place) []string {
	return []string{filepath.Join(p.rootfs(), "bin", "true")}
}

// find looks the program up and asks it for its version. A program that is not
// in PATH is no error here: its Path is "" then.
func (c *contender) find(ctx context.Context) error {
	if c.Path == "" { // fork+exec is bench itself
		return nil
	}
	path, err := exec.LookPath(c.Path)
	if errors.Is(err, exec.ErrNotFound) || c.Package == "" && errors.Is(err, os.ErrNotExist) {
		c.Path = ""
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", c.Name, err)
	}
	if c.Path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("make path of %s absolute: %w", c.Name, err)
	}
	text, err := exec.CommandContext(ctx, c.Path, "--version").Output()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", c.Path, err)
	}
	c.Version, _, _ = strings.Cut(strings.TrimSpace(string(text)), "\n")
	return nil
}

// missing reports whether find did not find it.
func (c *contender) missing() bool { return c.Path == "" && (c.OCI || c.Package != "") }

// takesPart reports whether c knows what v asks for.
func (c *contender) takesPart(v variant) bool { return c.OCI || v.Name == "plain" }

// steps are the command lines of one run. The first of several leaves a container
// that waits.
func (c *contender) steps(op operation, p place) [][]string {
	oci := func(args ...string) []string { return append([]string{c.Path, "--root", p.state}, args...) }
	switch op {
	case opExec:
		return [][]string{oci("exec", p.id, "/bin/true")}
	case opSteps:
		return [][]string{oci("create", "--bundle", p.bundle, p.id), oci("start", p.id), oci("delete", p.id)}
	default:
		return [][]string{c.command(c.Path, p)}
	}
}

// hold is the command line that starts a container to enter, and ends.
func (c *contender) hold(p place) []string {
	return []string{c.Path, "--root", p.state, "run", "--detach", "--bundle", p.bundle, p.id}
}

func (c *contender) remove(p place) []string {
	return []string{c.Path, "--root", p.state, "delete", "--force", p.id}
}

// build is another sandboxrun to compare with.
type build struct{ name, path string }

// parseBuild reads NAME=FILE.
func parseBuild(s string) (build, error) {
	name, path, ok := strings.Cut(s, "=")
	if !ok || name == "" || path == "" {
		return build{}, fmt.Errorf("%q: it must be NAME=FILE", s)
	}
	for _, c := range contenders(subject, nil) {
		if c.Name == name {
			return build{}, fmt.Errorf("the name %q is taken; choose another", name)
		}
	}
	return build{name, path}, nil
}
