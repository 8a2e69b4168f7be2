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
	"github.com/sandboxrun/sandboxrun/internal/logging"
)

// version is set by the linker.
var version = "dev"

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
	app := commandline.NewApp(version, inv.streams.out, inv.streams.err,
		append(logging.Flags(), commandline.CompanionFlags("bundles' secrets")...),
		inv.bundleCommand(), inv.imageCommand())
	app.Before = inv.setUp
	app.Action = func(*cli.Context) error {
		return commandline.Usagef("this program has the commands bundle and image only; run sandboxrun")
	}
	return app
}

// group is the action of a command that has subcommands only.
func group(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return commandline.Usagef("there is no command %q; %s --help lists them", c.Command.Name+" "+name, c.Command.HelpName)
	}
	return cli.ShowSubcommandHelp(c)
}
