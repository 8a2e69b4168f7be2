package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"
)

// deleteTimeout is how long a killed container may take to end, as with runc.
const deleteTimeout = 10 * time.Second

func (inv *invocation) deleteCommand() *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "remove a container and all it has on the host",
		ArgsUsage: "ID",
		Description: `The container has to be stopped, or created and never started.

EXAMPLES:
   sandboxrun delete web
   sandboxrun delete -f web
   sandboxrun delete --regex '^web-'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill the container first; no error if there is none"},
			regexFlag(),
		},
		Action: func(c *cli.Context) error {
			id, err := oneID(c)
			if err != nil {
				return err
			}
			return inv.eachMatching(c, id, func(id string) error {
				ctx, cancel := context.WithTimeoutCause(c.Context, deleteTimeout, errors.New("the container did not end in time"))
				defer cancel()
				return inv.runtime.Delete(ctx, id, c.Bool("force"))
			})
		},
	}
}
