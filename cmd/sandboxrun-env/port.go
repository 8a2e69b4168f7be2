package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) portCommand() *cli.Command {
	return &cli.Command{
		Name:      "port",
		Usage:     "print where on this host a service's port is reached",
		ArgsUsage: "SERVICE PORT[/PROTOCOL]",
		Description: `EXAMPLES:
   sandboxrun env port web 80
   sandboxrun env port --protocol udp dns 53`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "protocol", Value: "tcp", Usage: "tcp or udp"},
			&cli.IntFlag{Name: "index", Usage: "of the container with this `NUMBER`, if the service has several"},
		}, projectFlags(true)...),
		Action: inv.port,
	}
}

func (inv *invocation) port(c *cli.Context) error {
	if err := arguments(c, 2, 2); err != nil {
		return err
	}
	number, protocol, found := strings.Cut(c.Args().Get(1), "/")
	if !found {
		protocol = c.String("protocol")
	}
	target, err := strconv.ParseUint(number, 10, 16)
	if err != nil || target == 0 {
		return commandline.Usagef("%q is no port; write a number from 1 to 65535", number)
	}
	if protocol != "tcp" && protocol != "udp" {
		return commandline.Usagef("--protocol %q: it must be tcp or udp", protocol)
	}
	up, err := inv.connect(c)
	if err != nil {
		return err
	}
	list, err := chosen(up.status.Instances, c.Args().Slice()[:1])
	if err != nil {
		return err
	}
	published, err := findPort(list, uint16(target), protocol, c.Int("index"))
	if err != nil {
		return fmt.Errorf("service %q: %w", c.Args().First(), err)
	}
	_, err = fmt.Fprintln(inv.streams.out, hostPort(published.HostIP, published.HostPort))
	return err
}

// findPort looks for a published port of one of list, of the one with the index
// if that is not 0.
func findPort(list []control.InstanceStatus, target uint16, protocol string, index int) (control.PublishedPort, error) {
	var there []string
	for _, i := range list {
		if index != 0 && i.Index != index {
			continue
		}
		for _, p := range i.Ports {
			if p.Target == target && p.Protocol == protocol {
				return p, nil
			}
			there = append(there, fmt.Sprintf("%d/%s", p.Target, p.Protocol))
		}
	}
	if len(there) == 0 {
		return control.PublishedPort{}, fmt.Errorf("it has no published ports; add ports to it")
	}
	return control.PublishedPort{}, fmt.Errorf("port %d/%s is not published; there are %s", target, protocol, strings.Join(there, ", "))
}
