package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

func (inv *invocation) psCommand() *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "list the containers of an environment",
		ArgsUsage: "[SERVICE...]",
		Description: `EXAMPLES:
   sandboxrun env ps
   sandboxrun env ps --all --format json
   sandboxrun env ps --services`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "list those that have ended, too"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names only"},
			&cli.BoolFlag{Name: "services", Usage: "print the names of services only"},
			formatFlag(),
		}, projectFlags(true)...),
		Action: inv.ps,
	}
}

func (inv *invocation) ps(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	up, err := inv.connect(c)
	if err != nil {
		return err
	}
	list, err := chosen(up.status.Instances, c.Args().Slice())
	if err != nil {
		return err
	}
	if !c.Bool("all") {
		list = slices.DeleteFunc(list, func(i control.InstanceStatus) bool { return i.State == control.Exited })
	}
	switch {
	case c.Bool("services"):
		var services []string
		for _, i := range list {
			services = append(services, i.Service)
		}
		slices.Sort(services)
		return inv.printLines(slices.Compact(services))
	case c.Bool("quiet"):
		var names []string
		for _, i := range list {
			names = append(names, i.Name)
		}
		return inv.printLines(names)
	case asJSON:
		return inv.printJSON(list)
	}
	for _, what := range up.status.NetworkLost {
		fmt.Fprintf(inv.streams.err, "%s: taken away by somebody else: %s\n", up.name, what)
	}
	return writeStatus(inv.streams.out, list, time.Now())
}

// chosen are the instances of the named services, in order; without names all. A
// name may be an instance's, too.
func chosen(all []control.InstanceStatus, names []string) ([]control.InstanceStatus, error) {
	list := []control.InstanceStatus{}
	for _, i := range all {
		if len(names) == 0 || slices.Contains(names, i.Service) || slices.Contains(names, i.Name) {
			list = append(list, i)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(i control.InstanceStatus) bool { return i.Service == name || i.Name == name }) {
			return nil, fmt.Errorf("there is no service %q in this environment; sandboxrun env ps --all lists them", name)
		}
	}
	return list, nil
}

func (inv *invocation) printLines(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(inv.streams.out, line); err != nil {
			return err
		}
	}
	return nil
}
