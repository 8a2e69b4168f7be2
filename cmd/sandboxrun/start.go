package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "let the program of a created container run",
		ArgsUsage: "ID",
		Description: `Where NOTIFY_SOCKET is set, as it was for create, it returns once the program is
ready (sd_notify) or has ended.

EXAMPLE:
   sandboxrun create -b ./hello web && sandboxrun start web`,
		Action: func(c *cli.Context) error {
			return inv.onContainer(func(container *runtime.Container) error {
				ctx, release := stoppable(c.Context)
				defer release()
				return inv.failStopped(ctx, container.StartNotified(ctx, os.Getenv(notifyVariable)))
			})(c)
		},
	}
}

// oneID returns the only argument.
func oneID(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", commandline.Usagef("%s takes exactly one container ID; see %s --help", c.Command.Name, c.Command.HelpName)
	}
	return c.Args().First(), nil
}
