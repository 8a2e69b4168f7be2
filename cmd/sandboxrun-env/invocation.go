package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/compose"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/internal/logging"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// invocation is one run of the program: its streams, what the global flags say,
// and the exit code it ends with.
type invocation struct {
	streams stdio
	getenv  func(string) (string, bool)
	// secretVariable looks where secrets come from: .env too. loadPlan sets it.
	secretVariable func(string) (string, bool)
	log            *slog.Logger
	logFile        io.Closer // nil: warnings and errors go to stderr as plain lines
	roots          environment.Roots
	exitCode       int
	// given are the global flags that another program of ours needs too, logFlags those of
	// them for the supervisor.
	given, logFlags []string
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
	if inv.roots.State, err = commandline.Root(c); err != nil {
		return err
	}
	if inv.roots.Data, err = commandline.DataRoot(c, store.DefaultRoot); err != nil {
		return err
	}
	inv.given = []string{"--root", inv.roots.State, "--data-root", inv.roots.Data}
	if c.Bool("debug") {
		inv.logFlags = []string{"--debug"}
	}
	return nil
}

// fail prints err, several mistakes of a file on a line each, and returns the exit
// code for it.
func (inv *invocation) fail(err error) int {
	problems := []error{err}
	if several := (compose.Problems)(nil); errors.As(err, &several) {
		problems = several.Unwrap()
	}
	for _, problem := range problems {
		commandline.PrintError(problem, inv.log, inv.logFile == nil, inv.streams.err)
	}
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

// getString is getenv for those who take an unset variable for an empty one.
func (inv *invocation) getString(name string) string {
	value, _ := inv.getenv(name)
	return value
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: "table", Usage: "table or json"}
}

// wantsJSON reads the flag format of commands that print a table or JSON.
func wantsJSON(c *cli.Context) (bool, error) {
	switch f := c.String("format"); f {
	case "table", "text", "":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, commandline.Usagef("--format %q: it must be table or json", f)
	}
}

// printJSON prints one line of JSON.
func (inv *invocation) printJSON(v any) error {
	return json.NewEncoder(inv.streams.out).Encode(v)
}

// arguments checks how many there are; most is -1 for any number.
func arguments(c *cli.Context, least, most int) error {
	if c.NArg() >= least && (most < 0 || c.NArg() <= most) {
		return nil
	}
	takes := strings.TrimSpace(c.Command.ArgsUsage)
	if takes == "" {
		takes = "none"
	}
	return commandline.Usagef("env %s takes these arguments: %s; see %s --help", c.Command.Name, takes, c.Command.HelpName)
}
