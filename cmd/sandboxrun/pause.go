package main

import (
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) pauseCommand() *cli.Command {
	return &cli.Command{
		Name:        "pause",
		Usage:       "freeze all processes of a container",
		ArgsUsage:   "ID",
		Description: "EXAMPLE:\n   sandboxrun pause web",
		Action:      inv.onContainer((*runtime.Container).Pause),
	}
}

func (inv *invocation) resumeCommand() *cli.Command {
	return &cli.Command{
		Name:        "resume",
		Usage:       "let the processes of a paused container go on",
		ArgsUsage:   "ID",
		Description: "EXAMPLE:\n   sandboxrun resume web",
		Action:      inv.onContainer((*runtime.Container).Resume),
	}
}

// onContainer is the action of a command that takes one ID and no more.
func (inv *invocation) onContainer(do func(*runtime.Container) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		id, err := oneID(c)
		if err != nil {
			return err
		}
		container, err := inv.runtime.Load(id)
		if err != nil {
			return err
		}
		return do(container)
	}
}
