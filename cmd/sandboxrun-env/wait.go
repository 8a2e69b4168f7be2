package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

func (inv *invocation) waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until services have ended, and print their exit codes",
		ArgsUsage: "SERVICE...",
		Description: `Prints a line for each container, its name and exit code. The exit code is the first
that is not 0. A container that is to be started again has not ended.

EXAMPLES:
   sandboxrun env wait migrate
   sandboxrun env wait --down-project tests`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "down-project", Usage: "take the environment down afterwards"},
		}, projectFlags(true)...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1); err != nil {
				return err
			}
			up, err := inv.connect(c)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			if err := inv.waitFor(ctx, up, c.Args().Slice()); err != nil {
				return err
			}
			if c.Bool("down-project") {
				return inv.takeDown(ctx, up.name, downOptions{})
			}
			return nil
		},
	}
}

// waitFor waits for all containers of services. Events tell when to look, and the
// state whether it was the end.
func (inv *invocation) waitFor(ctx context.Context, up *running, services []string) error {
	ended := func() ([]control.InstanceStatus, bool, error) {
		status, err := answered(ctx, up.client.Status)
		if err != nil {
			return nil, false, up.explain(err)
		}
		list, err := chosen(status.Instances, services)
		open := slices.ContainsFunc(list, func(i control.InstanceStatus) bool { return i.State != control.Exited || i.ExitCode == nil })
		return list, err == nil && !open, err
	}
	list, done, err := ended()
	if err != nil {
		return err
	}
	if !done {
		err = up.client.Watch(ctx, func(e control.Event) error {
			if e.Kind != control.EventExited && e.Kind != control.EventPhase {
				return nil
			}
			var lookErr error
			if list, done, lookErr = ended(); lookErr != nil {
				return lookErr
			}
			if done {
				return io.EOF
			}
			return nil
		})
		if err != nil {
			return up.explain(err)
		}
	}
	if !done {
		return fmt.Errorf("environment %q was taken down before %v ended", up.name, services)
	}
	for _, i := range list {
		if inv.exitCode == 0 {
			inv.exitCode = *i.ExitCode
		}
		if _, err := fmt.Fprintf(inv.streams.out, "%s %d\n", i.Name, *i.ExitCode); err != nil {
			return err
		}
	}
	return nil
}
