// Command sandboxrun-images carries out the commands bundle and image of
// sandboxrun, which replaces itself by it. It lies beside sandboxrun and has the
// same global flags.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// version is set by the linker.
var version = "dev"

// Exit codes, as sandboxrun's own.
const (
	exitFailure = 1
	exitUsage   = 2
	// 128 + SIGINT, as a shell has it.
	exitInterrupted = 130
)

// stdio are the streams of one invocation.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, stdio{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, streams stdio) int {
	inv := &invocation{streams: streams}
	app := inv.app()
	err := app.RunContext(ctx, commandline.FlagsFirst(app, args))
	defer inv.close()
	if err == nil {
		return inv.exitCode
	}
	return inv.fail(err)
}

// app is the command line: the global flags of sandboxrun and one file for each
// command.
func (inv *invocation) app() *cli.App {
	app := &cli.App{
		Name:                      "sandboxrun",
		Usage:                     "run programs in isolated, resource-limited sandboxes",
		Version:                   version,
		Flags:                     globalFlags(),
		Before:                    inv.setUp,
		Writer:                    inv.streams.out,
		ErrWriter:                 inv.streams.err,
		HideHelpCommand:           true,
		Suggest:                   true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              commandline.OnUsageError,
		Action: func(c *cli.Context) error {
			return commandline.Usagef("this program has the commands bundle and image only; run sandboxrun")
		},
		Commands: []*cli.Command{inv.bundleCommand(), inv.imageCommand()},
	}
	commandline.Prepare(app.Flags, app.Commands)
	return app
}

// group is the action of a command that has subcommands only.
func group(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return commandline.Usagef("there is no command %q; %s --help lists them", c.Command.Name+" "+name, c.Command.HelpName)
	}
	return cli.ShowSubcommandHelp(c)
}
