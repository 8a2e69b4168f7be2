package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// inspected is what env inspect prints of an environment.
type inspected struct {
	*environment.Record
	// Status is null where it is not up.
	Status *control.Status `json:"status"`
}

// inspectedService is what env inspect prints of a service.
type inspectedService struct {
	plan.Service
	// Status of its containers; empty where the environment is not up.
	Status []control.InstanceStatus `json:"status"`
}

func (inv *invocation) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print all that is known of an environment or a service, as JSON",
		ArgsUsage: "[NAME|SERVICE]",
		Description: `Without an argument, and with the name of an environment, it is the environment's
record, plan and state. Contents of secrets are not among it.

EXAMPLES:
   sandboxrun env inspect
   sandboxrun env inspect db`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "json", Usage: "json"},
		}, projectFlags(true)...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			if _, err := wantsJSON(c); err != nil {
				return err
			}
			return inv.inspect(c, c.Args().First())
		},
	}
}

func (inv *invocation) inspect(c *cli.Context, argument string) error {
	if argument != "" && environment.CheckName(argument) == nil {
		record, err := inv.roots.Load(argument)
		if err == nil {
			return inv.inspectRecord(c, record)
		}
		if !errors.Is(err, environment.ErrNotFound) {
			return err
		}
	}
	name, err := inv.environmentName(c)
	if err != nil {
		return err
	}
	record, err := inv.roots.Load(name)
	if err != nil {
		return err
	}
	if argument == "" {
		return inv.inspectRecord(c, record)
	}
	var p plan.Plan
	if err := json.Unmarshal(record.Plan, &p); err != nil {
		return fmt.Errorf("read plan of environment %q: %w", name, err)
	}
	at := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Name == argument })
	if at < 0 {
		return fmt.Errorf("there is neither an environment %q nor such a service in %q; sandboxrun env ls and env ps list them", argument, name)
	}
	out := inspectedService{Service: p.Services[at], Status: []control.InstanceStatus{}}
	if status := inv.statusOf(c, record); status != nil {
		out.Status, _ = chosen(status.Instances, []string{argument}) // a service of the plan without instances has none
	}
	return inv.printIndented(out)
}

func (inv *invocation) inspectRecord(c *cli.Context, record *environment.Record) error {
	return inv.printIndented(inspected{Record: record, Status: inv.statusOf(c, record)})
}

// statusOf is nil for an environment that is not up, or hangs: its record is there all
// the same.
func (inv *invocation) statusOf(c *cli.Context, record *environment.Record) *control.Status {
	up := &running{name: record.Name, client: control.NewClient(record.Paths().Control)}
	status, err := answered(c.Context, up.client.Status)
	if errors.Is(err, errNoAnswer) {
		inv.log.Warn("only what is on disk is shown", "why", up.explain(err))
	}
	if err != nil {
		return nil
	}
	return status
}

func (inv *invocation) printIndented(v any) error {
	encoder := json.NewEncoder(inv.streams.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
