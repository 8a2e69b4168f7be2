// Command sandboxrun-env carries out the command env of sandboxrun, which
// replaces itself by it. It lies beside sandboxrun and has the same global flags.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

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
	// What reads compose files takes 3 MiB to start with: a collection at 4 MiB would cost every
	// start 2 ms.
	debug.SetGCPercent(400)
	os.Exit(run(context.Background(), os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, streams stdio) int {
	inv := &invocation{streams: streams, getenv: os.LookupEnv}
	app := inv.app()
	err := app.RunContext(ctx, commandline.FlagsFirst(app, args, "exec", "test"))
	defer inv.close()
	if err == nil {
		return inv.exitCode
	}
	return inv.fail(err)
}

// app is the command line: the global flags of sandboxrun and the command env,
// one file for each command below it.
func (inv *invocation) app() *cli.App {
	app := commandline.NewApp(version, inv.streams.out, inv.streams.err,
		append(logging.Flags(), commandline.CompanionFlags("what is known of environments")...),
		inv.envCommand())
	app.Before = inv.setUp
	app.Action = func(*cli.Context) error {
		return commandline.Usagef("this program has the command env only; run sandboxrun")
	}
	// As compose's users write: ps -aq, logs -ft.
	for _, command := range app.Commands[0].Subcommands {
		command.UseShortOptionHandling = true
	}
	return app
}

const envDescription = `An environment is the services of a compose file in namespaces, networks and cgroups of
their own, supervised by one process. It is gone with that process, whatever
happens. docs/environments.md is the guide, docs/compose.md has every key of the file.

EXAMPLES:
   Bring up what ./compose.yaml describes, show its output, and take it down on Ctrl-C:
      sandboxrun env up
   Test against it, and exit with the test's own code:
      sandboxrun env test -- go test ./...
   In the background:
      sandboxrun env up -d --wait
      sandboxrun env ps
      sandboxrun env down`

func (inv *invocation) envCommand() *cli.Command {
	command := &cli.Command{
		Name:        "env",
		Usage:       "run the services of a compose file, or a test beside them",
		Description: envDescription,
		Flags:       projectFlags(true),
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return commandline.Usagef("there is no command %q; sandboxrun env --help lists them", "env "+name)
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			inv.upCommand(),
			inv.testCommand(),
			inv.downCommand(),
			inv.psCommand(),
			inv.logsCommand(),
			inv.execCommand(),
			inv.statsCommand(),
			inv.waitCommand(),
			inv.portCommand(),
			inv.eventsCommand(),
			inv.inspectCommand(),
			inv.configCommand(),
			inv.listCommand(),
			inv.gcCommand(),
		},
	}
	return command
}
