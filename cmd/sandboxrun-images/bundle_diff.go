package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/field"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) bundleDiffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare the config.json of two bundles, field by field",
		ArgsUsage: "DIR DIR",
		Description: `Prints a line for each field that differs: "-" and "+" with its JSON path, what it is
in the first bundle and in the second. The exit code is 1 if they differ.

EXAMPLES:
   sandboxrun bundle diff redis redis-new`,
		Flags: []cli.Flag{formatFlag("text")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2); err != nil {
				return err
			}
			if err := checkFormat(c, "text"); err != nil {
				return err
			}
			var documents [2][]byte
			for i := range documents {
				// Loaded first: a bundle that cannot be used is told as such.
				bundle, err := bundles.Load(c.Args().Get(i))
				if err != nil {
					return err
				}
				if documents[i], err = os.ReadFile(bundles.ConfigPath(bundle.Dir, bundles.ConfigFile)); err != nil {
					return fmt.Errorf("read bundle %q: %w", bundle.Dir, err)
				}
			}
			differences, err := field.Diff(documents[0], documents[1])
			if err != nil {
				return err
			}
			return inv.printDifferences(c, differences)
		},
	}
}

func (inv *invocation) printDifferences(c *cli.Context, list []field.Difference) error {
	if len(list) > 0 {
		inv.exitCode = commandline.ExitFailure
	}
	if c.String("format") == "json" {
		if list == nil {
			list = []field.Difference{}
		}
		return json.NewEncoder(inv.streams.out).Encode(list)
	}
	for _, d := range list {
		if d.Before != nil {
			fmt.Fprintf(inv.streams.out, "- %s %s\n", d.Path, d.Before)
		}
		if d.After != nil {
			fmt.Fprintf(inv.streams.out, "+ %s %s\n", d.Path, d.After)
		}
	}
	return nil
}
