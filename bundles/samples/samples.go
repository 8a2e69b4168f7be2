package samples

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
)

// ErrUnknown says that there is no sample of the name asked for.
var ErrUnknown = errors.New("no such sample")

const importPath = "github.com/sandboxrun/sandboxrun/bundles/samples/"

// Names returns the names of all samples, sorted.
func Names() []string { return []string{"hello", "workload"} }

// Spec returns the configuration of a sample, as Build writes it. It depends on
// the machine only by what bundles.Default looks at.
func Spec(name string) (*specs.Spec, error) {
	options := []bundles.Option{
		bundles.WithArgs("/bin/" + name),
		bundles.WithTerminal(false),
		bundles.WithHostname(name),
	}
	switch name {
	case "hello":
		options = append(options, bundles.WithMemory(64<<20), bundles.WithCPUs(0.5))
	case "workload":
		options = append(options, bundles.WithArgs("/bin/workload", "true"))
	default:
		return nil, fmt.Errorf("cannot build sample %q: %w; there are %s", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	return bundles.Default(options...)
}

// Build makes the bundle DIR/NAME: the program, static, in rootfs/bin, empty
// directories for the mounts, and config.json. dir is made if it is missing.
//
// A bundle that is there already is replaced in one step (renameat2(2),
// RENAME_EXCHANGE): whoever opens it meanwhile gets the old one or the new one.
// When ctx ends, the compiler is killed. On failure the old bundle stays and
// nothing else is left.
func Build(ctx context.Context, dir, name string) (_ *bundles.Bundle, retErr error) {
	spec, err := Spec(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of samples: %w", err)
	}
	building, err := os.MkdirTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("make directory of sample %q: %w", name, err)
	}
	// After the exchange this is the former bundle.
	defer func() { retErr = errors.Join(retErr, os.RemoveAll(building)) }()
	if err := fill(ctx, building, name, spec); err != nil {
		return nil, err
	}
	final := filepath.Join(dir, name)
	if err := replace(building, final); err != nil {
		return nil, fmt.Errorf("put sample %q in place: %w", name, err)
	}
	return bundles.Load(final)
}

func fill(ctx context.Context, dir, name string, spec *specs.Spec) error {
	// MkdirTemp made it 0700; a rootless user's sandbox has to pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open directory of sample %q: %w", name, err)
	}
	for _, each := range []string{"bin", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", each), 0o755); err != nil {
			return fmt.Errorf("make root filesystem of sample %q: %w", name, err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "rootfs", "tmp"), 0o777|fs.ModeSticky); err != nil {
		return fmt.Errorf("make root filesystem of sample %q: %w", name, err)
	}
	if err := compile(ctx, name, filepath.Join(dir, "rootfs", "bin", name)); err != nil {
		return err
	}
	return bundles.Write(dir, spec)
}

// compile makes a static program, the same for the same source and toolchain.
func compile(ctx context.Context, name, output string) error {
	output, err := filepath.Abs(output)
	if err != nil {
		return fmt.Errorf("compile sample %q: %w", name, err)
	}
	command := exec.CommandContext(ctx, "go", "build",
		"-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", output, importPath+name)
	// GOFLAGS of the caller may ask for -race or -cover, which aren't static.
	command.Env = append(slices.Clone(os.Environ()), "CGO_ENABLED=0", "GOFLAGS=", "GOOS=linux")
	text, err := command.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("compile sample %q: %w", name, context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("cannot compile sample %q: there is no go command in PATH; install Go 1.26", name)
	}
	if err != nil {
		return fmt.Errorf("compile sample %q: %w: %s", name, err, strings.TrimSpace(string(text)))
	}
	return nil
}

// replace moves from to to. When to exists, it is at from afterwards.
func replace(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
	}
	return nil
}
