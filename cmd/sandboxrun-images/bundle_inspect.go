package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/build"
)

// inspected is what inspect prints as JSON.
type inspected struct {
	Bundle  string       `json:"bundle"`
	Mounted bool         `json:"mounted"`
	Record  build.Record `json:"record"`
	Config  *specs.Spec  `json:"config"`
}

func (inv *invocation) bundleInspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "tell what a bundle is made of and what it runs",
		ArgsUsage:   "DIR",
		Description: "EXAMPLES:\n   sandboxrun bundle inspect redis\n   sandboxrun bundle inspect --format json redis",
		Flags:       []cli.Flag{formatFlag("text")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			if err := checkFormat(c, "text"); err != nil {
				return err
			}
			bundle, err := bundles.Load(c.Args().First())
			if err != nil {
				return err
			}
			record, err := build.Load(bundle.Dir)
			if err != nil {
				return err
			}
			found := inspected{bundle.Dir, build.IsMounted(bundle.Dir, record), record, bundle.Spec}
			if c.String("format") == "json" {
				return json.NewEncoder(inv.streams.out).Encode(found)
			}
			return inv.printInspected(found)
		},
	}
}

func (inv *invocation) printInspected(i inspected) error {
	mounted := "mounted by " + string(i.Record.Method)
	if !i.Mounted {
		mounted = "not mounted; see \"sandboxrun bundle mount\""
	}
	process := i.Config.Process
	rows := [][2]string{
		{"Bundle", i.Bundle},
		{"Source", i.Record.Source},
		{"Image", strings.TrimSpace(i.Record.Reference + " " + string(i.Record.Digest))},
		{"Platform", i.Record.Platform},
		{"Layers", fmt.Sprint(len(i.Record.Layers))},
		{"Root filesystem", mounted},
		{"Service", i.Record.Service},
		{"Command", quoted(process.Args)},
		{"Working directory", process.Cwd},
		{"User", fmt.Sprintf("%d:%d %s", process.User.UID, process.User.GID, strings.Trim(fmt.Sprint(process.User.AdditionalGids), "[]"))},
		{"Hostname", i.Config.Hostname},
	}
	rows = append(rows, limitRows(i.Config.Linux)...)
	for _, m := range i.Config.Mounts {
		if m.Type == "bind" {
			rows = append(rows, [2]string{"Mount", m.Destination + " from " + m.Source})
		}
	}
	w := tabwriter.NewWriter(inv.streams.out, 0, 1, 2, ' ', 0)
	for _, row := range rows {
		if value := strings.TrimSpace(row[1]); value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", row[0], value)
		}
	}
	return w.Flush()
}

func limitRows(linux *specs.Linux) [][2]string {
	if linux == nil || linux.Resources == nil {
		return nil
	}
	var rows [][2]string
	r := linux.Resources
	if r.Memory != nil && r.Memory.Limit != nil {
		rows = append(rows, [2]string{"Memory", units.BytesSize(float64(*r.Memory.Limit))})
	}
	if r.CPU != nil && r.CPU.Quota != nil && r.CPU.Period != nil && *r.CPU.Period > 0 {
		rows = append(rows, [2]string{"CPUs", fmt.Sprint(float64(*r.CPU.Quota) / float64(*r.CPU.Period))})
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		rows = append(rows, [2]string{"Processes", fmt.Sprint(*r.Pids.Limit)})
	}
	return rows
}

// quoted shows arguments so that they can be told apart.
func quoted(args []string) string {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$") {
			shown[i] = fmt.Sprintf("%q", arg)
		}
	}
	return strings.Join(shown, " ")
}

// absolute is for arguments that name a bundle.
func absolute(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("make %q absolute: %w", dir, err)
	}
	return abs, nil
}
