package main

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) killCommand() *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "send a signal to the first process of a container",
		ArgsUsage: "ID [SIGNAL]",
		Description: `SIGNAL is a name, with or without SIG, or a number; SIGTERM if omitted.

EXAMPLES:
   sandboxrun kill web
   sandboxrun kill web KILL
   sandboxrun kill --all web KILL
   sandboxrun kill --regex '^web-' TERM`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "signal all processes of the container; no error if it is not running"},
			regexFlag(),
		},
		Action: inv.killAction,
	}
}

func (inv *invocation) killAction(c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return commandline.Usagef("kill takes a container ID and perhaps a signal; see sandboxrun kill --help")
	}
	name := c.Args().Get(1)
	if name == "" {
		name = "SIGTERM"
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	return inv.eachMatching(c, c.Args().First(), func(id string) error {
		err := inv.kill(c, id, sig)
		// Nobody named it when a regular expression found it.
		if errors.Is(err, runtime.ErrNotRunning) && (c.Bool("all") || c.Bool("regex")) {
			return nil
		}
		return err
	})
}

func (inv *invocation) kill(c *cli.Context, id string, sig syscall.Signal) error {
	container, err := inv.runtime.Load(id)
	if err != nil {
		return err
	}
	if c.Bool("all") {
		return container.KillAll(c.Context, sig)
	}
	return container.Kill(sig)
}

// parseSignal reads a signal's number or its name in any case, with or without
// SIG.
func parseSignal(s string) (syscall.Signal, error) {
	const most = 64 // SIGRTMAX on all architectures that Go has
	if number, err := strconv.Atoi(s); err == nil {
		if number < 0 || number > most {
			return 0, commandline.Usagef("there is no signal %d; the highest is %d", number, most)
		}
		return syscall.Signal(number), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, commandline.Usagef("there is no signal %q; kill -l lists them", s)
}
