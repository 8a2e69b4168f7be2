package main

import (
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/supervisor"
)

// envSupervisorCommand is what sandboxrun-env starts as PID 1 of an environment's
// namespaces. It is this program since libcontainer executes its own again for
// each container.
func (inv *invocation) envSupervisorCommand() *cli.Command {
	return &cli.Command{
		Name:   "env-supervisor",
		Usage:  "supervise an environment; for sandboxrun env alone",
		Hidden: true,
		Action: func(c *cli.Context) error { return supervisor.Main(c.Context, inv.log) },
	}
}
