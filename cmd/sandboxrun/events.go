package main

import (
	"encoding/json"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "print figures and OOM kills of a container as they come",
		ArgsUsage: "ID",
		Description: `Prints a line of JSON in runc's form with the container's figures after each
interval, and one for each OOM kill, until the container ends.

EXAMPLES:
   sandboxrun events --interval 1s web
   sandboxrun events --stats web`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "print the figures after each `TIME`"},
			&cli.BoolFlag{Name: "stats", Usage: "print the figures once"},
		},
		Action: func(c *cli.Context) error {
			interval := c.Duration("interval")
			if interval <= 0 {
				return commandline.Usagef("--interval %v: it must be greater than 0", interval)
			}
			return inv.onContainer(func(container *runtime.Container) error {
				return inv.printEvents(c, container, interval)
			})(c)
		},
	}
}

func (inv *invocation) printEvents(c *cli.Context, container *runtime.Container, interval time.Duration) error {
	encoder := json.NewEncoder(inv.streams.out)
	emit := func(e runtime.Event) error { return encoder.Encode(e) }
	if c.Bool("stats") {
		event, err := container.Stats()
		if err != nil {
			return err
		}
		return emit(event)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return container.Events(ctx, interval, emit)
}
