package main

import (
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "create a container whose program waits for start",
		ArgsUsage: "[BUNDLE] [ID]",
		Description: `Makes the container of a bundle up to the point where its program only waits
for sandboxrun start. It stays until sandboxrun delete.

BUNDLE is a directory with a config.json; without it, the bundle is --bundle or
the working directory, and the ID has to be given. Beside a BUNDLE, an omitted
ID is generated and printed.

EXAMPLES:
   sandboxrun create -b ./hello web
   sandboxrun create --pid-file web.pid ./hello web`,
		Flags:  createFlags(),
		Action: inv.createAction,
	}
}

// createFlags are those that run has too.
func createFlags() []cli.Flag {
	return join(limitFlags(), processFlags(), []cli.Flag{
		&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "the bundle's `DIR` (default: the working directory)"},
		&cli.StringFlag{Name: "config", Usage: "read the `FILE` of the bundle in place of its config.json"},
		&cli.BoolFlag{Name: "init", Usage: "put a small PID 1 before the program, which forwards signals and reaps zombies"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the program a terminal, as process.terminal in the bundle does"},
		&cli.BoolFlag{Name: "no-pivot", Usage: "do not use pivot_root, for a root filesystem on an initramfs; less safe"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "share the caller's session keyring"},
	})
}

// processFlags are those of every command that starts a process.
func processFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "console-socket", Usage: "send the master of the program's terminal to the unix socket `PATH`"},
		&cli.StringFlag{Name: "pidfd-socket", Usage: "send a pidfd of the first process to the unix socket `PATH`"},
		&cli.StringFlag{Name: "pid-file", Usage: "write the process ID of the first process to `FILE`"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "pass `N` more descriptors on, from 3 up or after those of LISTEN_FDS"},
	}
}

func (inv *invocation) createAction(c *cli.Context) error {
	t, err := parseTarget(c)
	if err != nil {
		return err
	}
	if t.generated && t.runcForm {
		// Who uses runc's form reads no ID from stdout.
		return commandline.Usagef("create needs a container ID, by which start and delete find the container; see sandboxrun create --help")
	}
	opts, _, limits, err := inv.containerOptions(c, t)
	if err != nil {
		return err
	}
	if err := refuseTimeLimits(limits); err != nil {
		return err
	}
	ctx, release := stoppable(c.Context)
	defer release()
	if _, err := inv.runtime.CreateContext(ctx, *opts); err != nil {
		return inv.failStopped(ctx, err)
	}
	inv.printGenerated(t)
	return nil
}
