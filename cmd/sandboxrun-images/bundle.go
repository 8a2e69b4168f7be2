package main

import "github.com/urfave/cli/v2"

func (inv *invocation) bundleCommand() *cli.Command {
	return &cli.Command{
		Name:  "bundle",
		Usage: "build, inspect, compare, mount and remove bundles",
		Description: `A bundle is a directory with a config.json and a root filesystem; "sandboxrun
run" runs it. docs/bundles.md describes sources and service files.

EXAMPLES:
   sandboxrun bundle build docker://redis:7 -o redis
   sandboxrun run redis`,
		Action: group,
		Subcommands: []*cli.Command{
			inv.bundleBuildCommand(),
			inv.bundleInspectCommand(),
			inv.bundleValidateCommand(),
			inv.bundleDiffCommand(),
			inv.bundleMountCommand(),
			inv.bundleRemoveCommand(),
		},
	}
}
