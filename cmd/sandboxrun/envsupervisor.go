package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
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
		Action: func(c *cli.Context) error {
			// Before anything else: a PID 1 without a handler ends at once.
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			handover, err := environment.TakeOver()
			if err != nil {
				return err
			}
			return supervisor.Run(c.Context, handover, supervisor.Options{Signals: signals, Log: inv.log})
		},
	}
}
