package main

import "github.com/urfave/cli/v2"

func (inv *invocation) startCommand() *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "let the program of a created container run",
		ArgsUsage:   "ID",
		Description: "EXAMPLE:\n   sandboxrun create -b ./hello web && sandboxrun start web",
		Action: func(c *cli.Context) error {
			id, err := oneID(c)
			if err != nil {
				return err
			}
			container, err := inv.runtime.Load(id)
			if err != nil {
				return err
			}
			return container.Start()
		},
	}
}

// oneID returns the only argument.
func oneID(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s takes exactly one container ID; see %s --help", c.Command.Name, c.Command.HelpName)
	}
	return c.Args().First(), nil
}
