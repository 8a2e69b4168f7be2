package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// programInfo is what info prints as JSON.
type programInfo struct {
	Version string `json:"version"`
	runtime.HostInfo
}

func (inv *invocation) infoCommand() *cli.Command {
	return &cli.Command{
		Name:        "info",
		Usage:       "print what this host has of what sandboxes need",
		Description: "EXAMPLES:\n   sandboxrun info\n   sandboxrun info -f json",
		Flags:       []cli.Flag{formatFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return commandline.Usagef("info takes no arguments")
			}
			if err := checkFormat(c); err != nil {
				return err
			}
			host, err := runtime.Info(c.Context)
			if err != nil {
				return err
			}
			if c.String("format") == "json" {
				return json.NewEncoder(inv.streams.out).Encode(programInfo{version, host})
			}
			return inv.printInfo(host)
		},
	}
}

func (inv *invocation) printInfo(host runtime.HostInfo) error {
	systemd := "no"
	if host.Cgroup.Systemd {
		systemd = "yes"
	}
	w := tabwriter.NewWriter(inv.streams.out, 0, 1, 2, ' ', 0)
	for _, row := range [][2]string{
		{"Version", version},
		{"libcontainer", host.Libcontainer},
		{"libseccomp", host.Libseccomp},
		{"Kernel", host.Kernel},
		{"Architecture", host.Architecture},
		{"Operating system", host.OS},
		{"CPUs", strconv.Itoa(host.CPUs)},
		{"Memory", units.BytesSize(float64(host.MemoryBytes))},
		{"Cgroups", host.Cgroup.Mode},
		{"Controllers", strings.Join(host.Cgroup.Controllers, " ")},
		{"systemd", systemd},
		{"Namespaces", strings.Join(host.Namespaces, " ")},
		{"User namespaces", host.UserNamespaces},
		{"Seccomp actions", strings.Join(host.Seccomp.Actions, " ")},
		{"Security modules", strings.Join(host.LSMs, " ")},
		{"CRIU", strings.TrimSpace(host.CRIU.Version + " " + host.CRIU.Path)},
	} {
		if row[1] == "" {
			row[1] = "none"
		}
		fmt.Fprintf(w, "%s:\t%s\n", row[0], row[1])
	}
	return w.Flush()
}
