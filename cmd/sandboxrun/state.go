package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"
)

func (inv *invocation) stateCommand() *cli.Command {
	return &cli.Command{
		Name:        "state",
		Usage:       "print the state of a container as JSON",
		ArgsUsage:   "ID",
		Description: "EXAMPLE:\n   sandboxrun state web",
		Action: func(c *cli.Context) error {
			id, err := oneID(c)
			if err != nil {
				return err
			}
			container, err := inv.runtime.Load(id)
			if err != nil {
				return err
			}
			state, err := container.State()
			if err != nil {
				return err
			}
			data, err := json.MarshalIndent(state, "", "  ")
			if err != nil {
				return fmt.Errorf("encode state: %w", err)
			}
			fmt.Fprintf(inv.streams.out, "%s\n", data)
			return nil
		},
	}
}
