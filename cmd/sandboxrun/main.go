// The Go runtime starts twice for a container, here and in its init. It need
// not name its mappings, nor read (and keep open) the cgroup's CPU limit.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command sandboxrun runs programs in isolated, resource-limited sandboxes.
package main

import (
	"context"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// version is set by the linker.
var version = "dev"

// stdio are the streams of one invocation.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(context.Background(), os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, streams stdio) int {
	inv := &invocation{streams: streams}
	err := inv.app().RunContext(ctx, args)
	defer inv.close()
	if err == nil {
		return inv.exitCode
	}
	return inv.fail(err)
}

// app is the command line: global flags and one file for each command.
func (inv *invocation) app() *cli.App {
	app := commandline.NewApp(version, inv.streams.out, inv.streams.err, globalFlags(),
		inv.runCommand(),
		inv.createCommand(),
		inv.startCommand(),
		inv.execCommand(),
		inv.pauseCommand(),
		inv.resumeCommand(),
		inv.updateCommand(),
		inv.psCommand(),
		inv.mountsCommand(),
		inv.eventsCommand(),
		inv.checkpointCommand(),
		inv.restoreCommand(),
		inv.stateCommand(),
		inv.killCommand(),
		inv.deleteCommand(),
		inv.listCommand(),
		inv.gcCommand(),
		inv.specCommand(),
		inv.bundleCommand(),
		inv.imageCommand(),
		inv.envCommand(),
		inv.featuresCommand(),
		inv.infoCommand(),
		inv.envSupervisorCommand(),
		inv.completionCommand(),
	)
	app.Description = appDescription
	app.Before = inv.setUp
	app.Action = func(c *cli.Context) error {
		if name := c.Args().First(); name != "" {
			return commandline.Usagef("there is no command %q; sandboxrun --help lists them", name)
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

const appDescription = `sandboxrun takes an OCI bundle (a directory with a config.json and a root
filesystem) and runs its program in namespaces and cgroups of its own. Its
commands and flags are runc's, with more of its own.

EXAMPLES:
   Run a bundle and remove everything afterwards:
      sandboxrun run ./hello
   The same under limits, with a summary of what it used:
      sandboxrun run --memory 64M --cpus 0.5 --wall-time 30s --summary ./hello
   Clean up after a supervisor that was killed:
      sandboxrun gc`
