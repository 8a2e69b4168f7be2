package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

func (inv *invocation) imageUsageCommand() *cli.Command {
	return &cli.Command{
		Name:        "du",
		Usage:       "tell how much disk the store takes",
		Description: "EXAMPLES:\n   sandboxrun image du",
		Flags:       []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := errors.Join(arguments(c, 0, 0), checkFormat(c, "table")); err != nil {
				return err
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			u, err := st.Usage(c.Context)
			if err != nil {
				return err
			}
			return inv.printUsage(c, u)
		},
	}
}

// usage is what du prints as JSON.
type usage struct {
	Blobs       store.Count `json:"blobs"`
	Layers      store.Count `json:"layers"`
	Partial     store.Count `json:"partial"`
	Temporary   store.Count `json:"temporary"`
	Reclaimable store.Count `json:"reclaimable"`
	Images      int         `json:"images"`
	Leases      int         `json:"leases"`
}

func (inv *invocation) printUsage(c *cli.Context, u store.Usage) error {
	if c.String("format") == "json" {
		return json.NewEncoder(inv.streams.out).Encode(usage{u.Blobs, u.Layers, u.Partial, u.Temporary, u.Reclaimable, u.Images, u.Leases})
	}
	w := tabwriter.NewWriter(inv.streams.out, 0, 1, 3, ' ', 0)
	fmt.Fprint(w, "WHAT\tNUMBER\tSIZE\n")
	for _, row := range []struct {
		what string
		store.Count
	}{
		{"blobs", u.Blobs}, {"layers, unpacked", u.Layers}, {"downloads to go on with", u.Partial},
		{"being made", u.Temporary}, {"prune would remove", u.Reclaimable},
	} {
		fmt.Fprintf(w, "%s\t%d\t%s\n", row.what, row.Number, units.BytesSize(float64(row.Bytes)))
	}
	fmt.Fprintf(w, "images\t%d\t\nbundles that use them\t%d\t\n", u.Images, u.Leases)
	return w.Flush()
}

func (inv *invocation) imagePruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "remove what no image and no bundle uses",
		ArgsUsage: " ",
		Description: `EXAMPLES:
   sandboxrun image prune --dry-run
   sandboxrun image prune --all`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "remove images that no bundle uses, too"},
			&cli.BoolFlag{Name: "packed", Usage: "remove the packed form of layers that are unpacked, too; they are fetched again if need be"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "remove nothing, and say what would be"},
			formatFlag("table"),
		},
		Action: func(c *cli.Context) error {
			if err := errors.Join(arguments(c, 0, 0), checkFormat(c, "table")); err != nil {
				return err
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			gone, err := st.Prune(c.Context, store.PruneOptions{Images: c.Bool("all"), PackedLayers: c.Bool("packed"), DryRun: c.Bool("dry-run")})
			if err != nil {
				return err
			}
			return inv.printPruned(c, gone)
		},
	}
}

// pruned is what prune prints as JSON.
type pruned struct {
	References []string    `json:"references"`
	Blobs      store.Count `json:"blobs"`
	Layers     store.Count `json:"layers"`
	Partial    store.Count `json:"partial"`
	Leases     store.Count `json:"leases"`
	Temporary  store.Count `json:"temporary"`
}

func (inv *invocation) printPruned(c *cli.Context, p store.Pruned) error {
	if c.String("format") == "json" {
		out := pruned{p.References, p.Blobs, p.Layers, p.Partial, p.Leases, p.Temporary}
		if out.References == nil {
			out.References = []string{}
		}
		return json.NewEncoder(inv.streams.out).Encode(out)
	}
	verb := "removed"
	if c.Bool("dry-run") {
		verb = "would remove"
	}
	for _, reference := range p.References {
		fmt.Fprintf(inv.streams.out, "%s image %s\n", verb, reference)
	}
	var bytes int64
	for _, count := range []store.Count{p.Blobs, p.Layers, p.Partial, p.Temporary} {
		bytes += count.Bytes
	}
	_, err := fmt.Fprintf(inv.streams.out, "%s %d blobs, %d layers, %d unfinished downloads: %s\n",
		verb, p.Blobs.Number, p.Layers.Number, p.Partial.Number, units.BytesSize(float64(bytes)))
	return err
}

func (inv *invocation) imageCheckCommand() *cli.Command {
	return &cli.Command{
		Name:  "fsck",
		Usage: "verify the store",
		Description: `Reads every blob and record and, with --deep, unpacks every layer again and compares. The
exit code is 1 if something is broken and was not repaired. What --repair removes comes back with
the next pull.

EXAMPLES:
   sandboxrun image fsck
   sandboxrun image fsck --deep --repair`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "deep", Usage: "unpack layers again and compare them file by file"},
			&cli.BoolFlag{Name: "repair", Usage: "remove what is broken"},
			formatFlag("text"),
		},
		Action: func(c *cli.Context) error {
			if err := errors.Join(arguments(c, 0, 0), checkFormat(c, "text")); err != nil {
				return err
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			var deep store.Remake
			if c.Bool("deep") {
				deep = remake
			}
			found, err := st.Fsck(c.Context, c.Bool("repair"), deep)
			if err != nil {
				return err
			}
			return inv.printFindings(c, found)
		},
	}
}

// remake unpacks a layer as loadOptions wants it for its form.
func remake(ctx context.Context, blob io.Reader, layer store.Layer, dir string) error {
	o := unpack.Options{}
	if layer.Form == unpack.OverlayUser.String() {
		o.OwnAll, o.Form, o.Devices = true, unpack.OverlayUser, unpack.SkipDevices
	}
	_, err := unpack.Layer(ctx, dir, blob, o)
	return err
}

func (inv *invocation) printFindings(c *cli.Context, found []store.Finding) error {
	for _, f := range found {
		if !f.Repaired {
			inv.exitCode = commandline.ExitFailure
		}
	}
	if c.String("format") == "json" {
		if found == nil {
			found = []store.Finding{}
		}
		return json.NewEncoder(inv.streams.out).Encode(found)
	}
	for _, f := range found {
		repaired := ""
		if f.Repaired {
			repaired = "; removed"
		}
		fmt.Fprintf(inv.streams.out, "%s: %s%s\n", f.Path, f.Problem, repaired)
	}
	if len(found) == 0 {
		fmt.Fprintln(inv.streams.out, "the store is in order")
	}
	return nil
}
