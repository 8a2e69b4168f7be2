package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) gcCommand() *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "remove what killed supervisors left",
		Description: `Finds containers whose supervisor is dead, and removes their processes,
cgroups and state. Containers that a living supervisor owns, and those made by
create or run --detach, are left alone.

EXAMPLES:
   sandboxrun gc --dry-run
   sandboxrun gc`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only list"},
			&cli.BoolFlag{Name: "stopped", Usage: "take stopped containers that nobody supervises, too"},
			formatFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return commandline.Usagef("gc takes no arguments")
			}
			if err := checkFormat(c); err != nil {
				return err
			}
			found, err := inv.runtime.GC(c.Context, runtime.GCOptions{Stopped: c.Bool("stopped"), DryRun: c.Bool("dry-run")})
			if printErr := inv.printLeftovers(c.String("format"), found); printErr != nil {
				return printErr
			}
			return err
		},
	}
}

func (inv *invocation) printLeftovers(format string, found []runtime.Leftover) error {
	if format == "json" {
		return json.NewEncoder(inv.streams.out).Encode(found)
	}
	for _, l := range found {
		verb := "found"
		if l.Removed {
			verb = "removed"
		}
		fmt.Fprintf(inv.streams.out, "%s %s: %s, %s, %s\n", verb, l.ID, count(len(l.Processes), "process", "processes"), count(len(l.Cgroups), "cgroup", "cgroups"), l.State)
	}
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
