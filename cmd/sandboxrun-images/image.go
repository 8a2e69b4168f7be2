package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func (inv *invocation) imageCommand() *cli.Command {
	return &cli.Command{
		Name:  "image",
		Usage: "pull, list and remove images, and look after the store",
		Description: `Images are kept below --data-root, unpacked once and shared read-only by all bundles.

EXAMPLES:
   sandboxrun image pull redis:7
   sandboxrun image ls`,
		Action: group,
		Subcommands: []*cli.Command{
			inv.imageListCommand(),
			inv.imagePullCommand(),
			inv.imageLoadCommand(),
			inv.imageBringCommand(),
			inv.imageRemoveCommand(),
			inv.imagePruneCommand(),
			inv.imageUsageCommand(),
			inv.imageCheckCommand(),
		},
	}
}

func (inv *invocation) imageListCommand() *cli.Command {
	return &cli.Command{
		Name:        "ls",
		Aliases:     []string{"list"},
		Usage:       "list images",
		Description: "EXAMPLES:\n   sandboxrun image ls\n   sandboxrun image ls -q\n   sandboxrun image ls -f json",
		Flags: []cli.Flag{
			formatFlag("table"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print references only"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if err := checkFormat(c, "table"); err != nil {
				return err
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			list, err := st.Images()
			if err != nil {
				return err
			}
			return inv.printImages(c, list)
		},
	}
}

func (inv *invocation) printImages(c *cli.Context, list []store.Entry) error {
	if c.Bool("quiet") {
		for _, e := range list {
			fmt.Fprintln(inv.streams.out, e.Reference)
		}
		return nil
	}
	if c.String("format") == "json" {
		if list == nil {
			list = []store.Entry{}
		}
		return json.NewEncoder(inv.streams.out).Encode(list)
	}
	w := tabwriter.NewWriter(inv.streams.out, 0, 1, 3, ' ', 0)
	fmt.Fprint(w, "REFERENCE\tDIGEST\tPLATFORM\tSIZE\tPULLED\n")
	for _, e := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Reference, e.Digest.Short(), e.Platform, units.BytesSize(float64(e.Size)), e.Pulled.Format(time.RFC3339))
	}
	return w.Flush()
}
