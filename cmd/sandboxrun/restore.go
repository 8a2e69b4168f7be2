package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "let a container go on from a checkpoint",
		ArgsUsage: "ID",
		Description: `Makes a container whose processes go on where sandboxrun checkpoint saved them,
waits for its program and removes everything, as sandboxrun run does. The bundle
has to be that of the checkpoint; the flags from --tcp-established on have to be
given again. One checkpoint can be restored any number of times.

Whoever can write to the image directory decides what the program does, and with
which rights: restore only what you have saved yourself.

If CRIU fails, nothing is left but restore.log in the work directory.

EXAMPLES:
   sandboxrun restore --image-path ./saved -b ./hello web
   sandboxrun restore --detach --pid-file web.pid -b ./hello web`,
		Flags: join([]cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "the bundle's `DIR` (default: the working directory)"},
			&cli.StringFlag{Name: "config", Usage: "read the `FILE` of the bundle in place of its config.json"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return once the program runs; the container stays until delete"},
			&cli.StringFlag{Name: "console-socket", Usage: "send the master of the program's terminal to the unix socket `PATH`"},
			&cli.StringFlag{Name: "pid-file", Usage: "write the process ID of the first process to `FILE`"},
			&cli.BoolFlag{Name: "no-pivot", Usage: "do not use pivot_root, for a root filesystem on an initramfs; less safe"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "do not reap the orphans of a container without a PID namespace"},
			&cli.DurationFlag{Name: "stop-timeout", Value: runtime.DefaultStopTimeout, Usage: "after SIGTERM or SIGINT, wait this `TIME` before killing the sandbox"},
			&cli.StringFlag{Name: "report", Usage: "write a JSON report at the end to `FILE`, - for stdout, or fd:N"},
			&cli.BoolFlag{Name: "summary", Usage: "print what the sandbox used on stderr"},
		}, criuFlags(), []cli.Flag{
			&cli.StringFlag{Name: "lsm-profile", Usage: "give the program the security label `TYPE:NAME` in place of its own"},
			&cli.StringFlag{Name: "lsm-mount-context", Usage: "give its mounts the SELinux `CONTEXT` in place of their own"},
		}),
		Action: inv.restoreAction,
	}
}

func (inv *invocation) restoreAction(c *cli.Context) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	shared, err := criuOptions(c)
	if err != nil {
		return err
	}
	from := runtime.RestoreOptions{
		CRIUOptions:     shared,
		LSMProfile:      c.String("lsm-profile"),
		LSMMountContext: c.String("lsm-mount-context"),
	}
	t := target{bundle: c.String("bundle"), id: id, runcForm: true}
	if c.Bool("detach") {
		return inv.restoreDetached(c, t, from)
	}
	return inv.supervise(c, t, func(ctx context.Context, opts runtime.RunOptions) (*runtime.Report, error) {
		return inv.runtime.RunRestored(ctx, opts, from)
	})
}

func (inv *invocation) restoreDetached(c *cli.Context, t target, from runtime.RestoreOptions) error {
	for _, name := range []string{"report", "summary"} {
		if c.IsSet(name) {
			return commandline.Usagef("--%s needs a supervisor, and with --detach there is none; leave one of them out", name)
		}
	}
	opts, _, _, err := inv.containerOptions(c, t)
	if err != nil {
		return err
	}
	_, err = inv.runtime.Restore(c.Context, *opts, from)
	return err
}
