package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/internal/logging"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// invocation is one run of the program: its streams, what the global flags say,
// and the exit code it ends with.
type invocation struct {
	streams   stdio
	log       *slog.Logger
	logFile   io.Closer // nil: warnings and errors go to stderr as plain lines
	stateRoot string
	dataRoot  string
	exitCode  int
}

// setUp turns the global flags into a logger and paths.
func (inv *invocation) setUp(c *cli.Context) (err error) {
	inv.log, inv.logFile, err = logging.Open(logging.SettingsOf(c), inv.streams.err)
	if setting := (*logging.SettingError)(nil); errors.As(err, &setting) {
		return commandline.Usagef("%v", err)
	}
	if err != nil {
		return err
	}
	if inv.stateRoot, err = commandline.Root(c); err != nil {
		return err
	}
	inv.dataRoot, err = commandline.DataRoot(c, store.DefaultRoot)
	return err
}

// openStore opens the store and removes what killed builds left.
func (inv *invocation) openStore() (*store.Store, error) {
	st, err := store.Open(inv.dataRoot)
	if err != nil {
		return nil, err
	}
	removed, err := build.Sweep(st)
	for _, dir := range removed {
		inv.log.Info("removed what an interrupted command left", "bundle", dir)
	}
	if err != nil {
		inv.log.Warn("cannot remove all that an interrupted command left", "error", err)
	}
	return st, nil
}

// fail prints err and returns the exit code for it.
func (inv *invocation) fail(err error) int {
	commandline.PrintError(err, inv.log, inv.logFile == nil, inv.streams.err)
	if inv.exitCode != 0 {
		return inv.exitCode
	}
	return commandline.ExitCode(err)
}

func (inv *invocation) close() {
	if inv.logFile != nil {
		inv.logFile.Close()
	}
}

// formatFlag and checkFormat are for commands that print text or JSON.
func formatFlag(text string) cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: text, Usage: text + " or json"}
}

func checkFormat(c *cli.Context, text string) error {
	if f := c.String("format"); f != text && f != "json" {
		return commandline.Usagef("--format %q: it must be %s or json", f, text)
	}
	return nil
}

// arguments checks how many there are.
func arguments(c *cli.Context, least, most int) error {
	if c.NArg() < least || most >= 0 && c.NArg() > most {
		return commandline.Usagef("%s takes %s; see %s --help", c.Command.FullName(), strings.TrimSpace("these arguments: "+c.Command.ArgsUsage), c.Command.HelpName)
	}
	return nil
}
