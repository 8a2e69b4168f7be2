package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) psCommand() *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "list the processes of a container",
		ArgsUsage: "ID [PS-OPTION...]",
		Description: `Runs the host's ps, with -ef or the given options, and prints the lines of the
container's processes. The process IDs are the host's. As JSON, they are an array
of numbers and ps is not needed.

EXAMPLES:
   sandboxrun ps web
   sandboxrun ps web -o pid,rss,args
   sandboxrun ps -f json web`,
		Flags: []cli.Flag{formatFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return commandline.Usagef("ps takes a container ID and perhaps options of ps; see sandboxrun ps --help")
			}
			if err := checkFormat(c); err != nil {
				return err
			}
			container, err := inv.runtime.Load(c.Args().First())
			if err != nil {
				return err
			}
			pids, err := container.Processes()
			if err != nil {
				return err
			}
			if c.String("format") == "json" {
				return json.NewEncoder(inv.streams.out).Encode(pids)
			}
			return inv.printProcesses(c, pids, c.Args().Tail())
		},
	}
}

func (inv *invocation) printProcesses(c *cli.Context, pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	output, err := exec.CommandContext(c.Context, "ps", options...).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("cannot list processes: there is no ps on this host; install it (procps) or use --format json")
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return fmt.Errorf("run ps %s: %w: %s", strings.Join(options, " "), err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return fmt.Errorf("run ps: %w", err)
	}
	return filterProcesses(inv.streams.out, string(output), pids)
}

// filterProcesses prints the heading of ps' output and the lines of pids. The
// words before PID must not have spaces in them, or it is no longer where the
// heading has it.
func filterProcesses(to io.Writer, output string, pids []int) error {
	heading, rest, _ := strings.Cut(output, "\n")
	column := slices.Index(strings.Fields(heading), "PID")
	if column < 0 {
		return fmt.Errorf("cannot read what ps prints: %q has no column PID; let the options ask for it (-o pid,…)", heading)
	}
	fmt.Fprintln(to, heading)
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) <= column {
			return fmt.Errorf("cannot read what ps prints: %q has no process ID; let the options ask for it first (-o pid,…)", line)
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return fmt.Errorf("cannot read what ps prints: %q is no process ID; let the options ask for it first (-o pid,…)", fields[column])
		}
		if slices.Contains(pids, pid) {
			fmt.Fprint(to, line)
		}
	}
	return nil
}
