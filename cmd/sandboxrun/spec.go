package main

import (
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) specCommand() *cli.Command {
	return &cli.Command{
		Name:  "spec",
		Usage: "write a new config.json",
		Description: `Writes a config.json that runs sh from the directory rootfs beside it, with
the default seccomp profile. It never overwrites one.

With --rootless, the user who calls is root in the container. Other users are
there if newuidmap and newgidmap are installed and the user has subordinate IDs.

EXAMPLES:
   mkdir -p box/rootfs && cd box && sandboxrun spec
   sandboxrun spec --rootless -b box`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "write it to the bundle `DIR` (default: the working directory)"},
			&cli.BoolFlag{Name: "rootless", Usage: "for a user without privileges, with the IDs that /etc/subuid and /etc/subgid give to the user"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return commandline.Usagef("spec takes no arguments")
			}
			spec, err := bundles.Default()
			if err != nil {
				return err
			}
			if c.Bool("rootless") {
				bundles.Rootless(spec)
			}
			return bundles.Write(c.String("bundle"), spec)
		},
	}
}
