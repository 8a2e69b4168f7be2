package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
)

func (inv *invocation) gcCommand() *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "remove what killed environments left",
		Description: `Environments that are up, on their way up or down are left alone, and so are volumes that
were kept. It can be run at any time.

EXAMPLES:
   sandboxrun env gc --dry-run
   sandboxrun env gc`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "remove nothing, and say what would be"},
			formatFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			asJSON, err := wantsJSON(c)
			if err != nil {
				return err
			}
			found, gcErr := inv.roots.GC(c.Context, environment.GCOptions{DryRun: c.Bool("dry-run")})
			if asJSON {
				err = inv.printJSON(found)
			} else {
				err = inv.printLines(collectedLines(found))
			}
			if gcErr != nil {
				return gcErr
			}
			return err
		},
	}
}

func collectedLines(found []environment.Collected) []string {
	var lines []string
	for _, f := range found {
		verb := "would remove"
		if f.Removed {
			verb = "removed"
		}
		what := []string{fmt.Sprintf("%d processes", len(f.Processes)), fmt.Sprintf("%d cgroups", len(f.Cgroups))}
		lines = append(lines, fmt.Sprintf("%s %s: %s", verb, f.Name, strings.Join(append(what, f.Paths...), ", ")))
	}
	return lines
}
