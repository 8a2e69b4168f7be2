package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) listCommand() *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "list containers",
		Description: "EXAMPLES:\n   sandboxrun list\n   sandboxrun list -q\n   sandboxrun list -f json",
		Flags: []cli.Flag{
			formatFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print IDs only"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return commandline.Usagef("list takes no arguments")
			}
			if err := checkFormat(c); err != nil {
				return err
			}
			states, err := inv.runtime.List()
			if printErr := inv.printList(c, states); printErr != nil {
				return printErr
			}
			return err
		},
	}
}

func (inv *invocation) printList(c *cli.Context, states []runtime.State) error {
	if c.Bool("quiet") {
		for _, s := range states {
			fmt.Fprintln(inv.streams.out, s.ID)
		}
		return nil
	}
	if c.String("format") == "json" {
		return json.NewEncoder(inv.streams.out).Encode(states)
	}
	w := tabwriter.NewWriter(inv.streams.out, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return w.Flush()
}

// formatFlag and checkFormat are for commands that print a table or JSON.
func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table or json"}
}

func checkFormat(c *cli.Context) error {
	if f := c.String("format"); f != "table" && f != "json" {
		return commandline.Usagef("--format %q: it must be table or json", f)
	}
	return nil
}
