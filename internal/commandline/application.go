package commandline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// Exit codes beside those of programs in sandboxes; see docs/report.md.
const (
	ExitFailure = 1
	ExitUsage   = 2
	// ExitInterrupted is 128 + SIGINT, as a shell has it.
	ExitInterrupted = 130
)

// ExitCode is a companion's for an error.
func ExitCode(err error) int {
	switch {
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailure
}

// NewApp returns the command line that sandboxrun and its companions have in
// common, with these commands. Errors are for the caller to print, once.
func NewApp(version string, out, errs io.Writer, flags []cli.Flag, commands ...*cli.Command) *cli.App {
	prepare(flags, commands)
	return &cli.App{
		Name:            "sandboxrun",
		Usage:           "run programs in isolated, resource-limited sandboxes",
		Version:         version,
		Flags:           flags,
		Commands:        commands,
		Writer:          out,
		ErrWriter:       errs,
		HideHelpCommand: true,
		Suggest:         true,
		// A comma belongs to a value, as in --io-max.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              OnUsageError,
	}
}

// prepare sets what all commands of a program have in common, below the given
// ones too: no help command, usage errors by OnUsageError, no "(default: false)".
func prepare(flags []cli.Flag, commands []*cli.Command) {
	for _, flag := range flags {
		if b, ok := flag.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
	for _, command := range commands {
		command.HideHelpCommand = true
		command.OnUsageError = OnUsageError
		prepare(command.Flags, command.Subcommands)
	}
}

// RootFlag is --root; what says what is kept there.
func RootFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "root", Value: StateRoot(os.Geteuid(), os.Getenv), Usage: "keep " + what + " in `DIR`, which should be on a tmpfs"}
}

// CompanionFlags are the global flags of sandboxrun for its companions, but for
// those of the log: the command line is the same one. Those of cgroups mean
// nothing there. what is RootFlag's.
func CompanionFlags(what string) []cli.Flag {
	return []cli.Flag{
		RootFlag(what),
		DataRootFlag(),
		&cli.StringFlag{Name: "cgroup-manager", Hidden: true},
		&cli.BoolFlag{Name: "systemd-cgroup", Hidden: true},
		&cli.StringFlag{Name: "rootless", Hidden: true},
	}
}

// Root is the absolute path that --root names.
func Root(c *cli.Context) (string, error) {
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return "", fmt.Errorf("make --root absolute: %w", err)
	}
	return root, nil
}

// DataRoot is the absolute path that --data-root names, or else the default, which
// package store has.
func DataRoot(c *cli.Context, byDefault func(getenv func(string) string) (string, error)) (string, error) {
	given := c.String("data-root")
	if given == "" {
		return byDefault(os.Getenv)
	}
	root, err := filepath.Abs(given)
	if err != nil {
		return "", fmt.Errorf("make --data-root absolute: %w", err)
	}
	return root, nil
}
