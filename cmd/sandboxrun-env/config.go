package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/compose"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "check the compose file, and print it with everything filled in",
		Description: `EXAMPLES:
   sandboxrun env config
   sandboxrun env config -q && echo good
   sandboxrun env config --format json --profile debug
   sandboxrun env config --images`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but mistakes"},
			&cli.BoolFlag{Name: "services", Usage: "print the names of services"},
			&cli.BoolFlag{Name: "images", Usage: "print what the services are made of"},
			&cli.BoolFlag{Name: "volumes", Usage: "print the names of volumes"},
			&cli.StringFlag{Name: "format", Value: "yaml", Usage: "yaml or json"},
		}, projectFlags(true)...),
		Action: inv.config,
	}
}

func (inv *invocation) config(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	format := c.String("format")
	if format != "yaml" && format != "json" {
		return commandline.Usagef("--format %q: it must be yaml or json", format)
	}
	// What can be printed can be brought up.
	p, err := inv.loadPlan(c.Context, projectOf(c), adjustment{})
	if err != nil {
		return err
	}
	switch {
	case c.Bool("quiet"):
		return nil
	case c.Bool("services"), c.Bool("images"), c.Bool("volumes"):
		return inv.printLines(namesOf(p, c))
	}
	text, err := compose.Render(c.Context, inv.composeOptions(projectOf(c)), format)
	if err != nil {
		return err
	}
	_, err = inv.streams.out.Write(text)
	return err
}

// namesOf lists what the flags ask for, sorted, each once.
func namesOf(p *plan.Plan, c *cli.Context) []string {
	var names []string
	for _, s := range p.Services {
		if c.Bool("services") {
			names = append(names, s.Name)
		}
		if c.Bool("images") {
			names = append(names, imageName(s.Image))
		}
	}
	for _, v := range p.Volumes {
		if c.Bool("volumes") {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func imageName(i plan.Image) string {
	if i.Host {
		return "host:"
	}
	return i.Source
}
