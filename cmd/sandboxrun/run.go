package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create a container, run its program, and remove it afterwards",
		ArgsUsage: "[BUNDLE] [ID]",
		Description: `Runs the program of a bundle, waits for it and removes everything. The exit
code is the program's own; 128+n if signal n ended it; 127 if the program was
not found, 126 if it is not executable, 1 for a failure of sandboxrun itself.

BUNDLE is a directory with a config.json; without it, the bundle is --bundle or
the working directory. An omitted ID is generated. Flags stand before both.

If sandboxrun itself is killed, the sandbox dies with it (unless --detach), and
sandboxrun gc removes what is left.

EXAMPLES:
   sandboxrun run ./hello
   sandboxrun run --memory 64M --cpus 0.5 --pids 64 --summary ./hello web
   sandboxrun run --wall-time 30s --report report.json ./hello
   cd hello && sandboxrun run web`,
		Flags: join(createFlags(), timeFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return once the program runs; the container stays until delete"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the stopped container for delete"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "do not reap the orphans of a container without a PID namespace"},
			&cli.DurationFlag{Name: "stop-timeout", Value: runtime.DefaultStopTimeout, Usage: "after SIGTERM or SIGINT, wait this `TIME` before killing the sandbox"},
			&cli.StringFlag{Name: "report", Usage: "write a JSON report at the end to `FILE`, - for stdout, or fd:N"},
			&cli.BoolFlag{Name: "summary", Usage: "print what the sandbox used on stderr"},
		}),
		Action: inv.runAction,
	}
}

func (inv *invocation) runAction(c *cli.Context) error {
	t, err := parseTarget(c)
	if err != nil {
		return err
	}
	if c.Bool("detach") {
		return inv.runDetached(c, t)
	}
	return inv.supervise(c, t, inv.runtime.Run)
}

// supervise is the way of a command whose container ends with it. run is
// Runtime.Run, or the like.
func (inv *invocation) supervise(c *cli.Context, t target, run func(context.Context, runtime.RunOptions) (*runtime.Report, error)) error {
	write, err := openReport(c.String("report"), inv.streams.out)
	if err != nil {
		return err
	}
	began := time.Now()
	opts, err := inv.supervisedOptions(c, t)
	if err != nil {
		dir, _ := filepath.Abs(t.bundle)
		return errors.Join(err, write(runtime.FailedStart(t.id, dir, err)))
	}
	opts.LoadTime = time.Since(began)
	opts.Signals = catchSignals()
	opts.WithoutFigures = c.String("report") == "" && !c.Bool("summary")

	report, err := run(c.Context, *opts)
	inv.exitCode = report.ExitCode
	if c.Bool("summary") {
		printSummary(inv.streams.err, report)
	} else {
		inv.explain(report)
	}
	return errors.Join(err, write(report))
}

// runDetached is create and start in one.
func (inv *invocation) runDetached(c *cli.Context, t target) error {
	for _, name := range []string{"report", "summary", "wall-time", "cpu-time", "keep"} {
		if c.IsSet(name) {
			return commandline.Usagef("--%s needs a supervisor, and with --detach there is none; leave one of them out", name)
		}
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
	container, err := inv.runtime.CreateContext(ctx, *opts)
	if err != nil {
		return inv.failStopped(ctx, err)
	}
	if err := container.StartNotified(ctx, opts.NotifySocket); err != nil {
		return inv.failStopped(ctx, errors.Join(err, inv.runtime.Delete(c.Context, t.id, true)))
	}
	inv.printGenerated(t)
	return nil
}

// supervisedOptions turns the command line into what the runtime is to run.
func (inv *invocation) supervisedOptions(c *cli.Context, t target) (*runtime.RunOptions, error) {
	create, missing, limits, err := inv.containerOptions(c, t)
	if err != nil {
		return nil, err
	}
	return &runtime.RunOptions{
		CreateOptions: *create,
		WallTime:      limits.WallTime,
		CPUTime:       limits.CPUTime,
		StopTimeout:   c.Duration("stop-timeout"),
		Subreaper:     !c.Bool("no-subreaper"),
		Keep:          c.Bool("keep"),
		Missing:       missing,
	}, nil
}

// containerOptions loads the bundle and puts the flags of create and run over
// it.
func (inv *invocation) containerOptions(c *cli.Context, t target) (*runtime.CreateOptions, []cgroup.Missing, cgroup.Limits, error) {
	none := cgroup.Limits{}
	limits, err := parseLimits(c)
	if err != nil {
		return nil, nil, none, err
	}
	bundle, err := bundles.LoadFile(t.bundle, c.String("config"))
	if err != nil {
		return nil, nil, none, err
	}
	bundle.Spec.Root.Path, err = rootfs.Resolve(bundle.Dir, bundle.Spec.Root.Path)
	if err != nil {
		return nil, nil, none, err
	}
	missing, err := inv.applyLimits(bundle.Spec, limits, c.Bool("allow-missing-controllers"))
	if err != nil {
		return nil, nil, none, err
	}
	activation, err := runtime.InheritedActivation(os.Getenv)
	if err != nil {
		return nil, nil, none, err
	}
	process, err := inv.processOptions(c, firstExtraFD+len(activation.Files))
	if err != nil {
		return nil, nil, none, err
	}
	opts := &runtime.CreateOptions{
		ID:             t.id,
		Bundle:         bundle.Dir,
		Spec:           bundle.Spec,
		ProcessOptions: process,
		Activation:     activation,
		NotifySocket:   os.Getenv(notifyVariable),
		Init:           c.Bool("init"),
		NoPivot:        c.Bool("no-pivot"),
		NoNewKeyring:   c.Bool("no-new-keyring"),
	}
	if file := c.String("config"); file != "" {
		opts.ConfigFile = bundles.ConfigPath(bundle.Dir, file)
	}
	if c.Bool("tty") {
		opts.Spec.Process.Terminal = true
	}
	return opts, missing, limits, nil
}

// firstExtraFD is that of the first descriptor beside the streams.
const firstExtraFD = 3

// notifyVariable names the socket of the service manager (sd_notify(3)).
const notifyVariable = "NOTIFY_SOCKET"

// processOptions are those that run, create and exec share. firstFD is that of
// the first descriptor to preserve.
func (inv *invocation) processOptions(c *cli.Context, firstFD int) (runtime.ProcessOptions, error) {
	extra, err := preservedFiles(firstFD, c.Int("preserve-fds"))
	return runtime.ProcessOptions{
		Stdin:         inv.streams.in,
		Stdout:        inv.streams.out,
		Stderr:        inv.streams.err,
		ConsoleSocket: c.String("console-socket"),
		PidfdSocket:   c.String("pidfd-socket"),
		PidFile:       c.String("pid-file"),
		ExtraFiles:    extra,
	}, err
}

// preservedFiles takes over n descriptors of the caller.
func preservedFiles(first, n int) ([]*os.File, error) {
	if n < 0 {
		return nil, commandline.Usagef("--preserve-fds %d: it cannot be negative", n)
	}
	var files []*os.File
	for fd := first; fd < first+n; fd++ {
		if !inherited(uintptr(fd)) {
			return nil, fmt.Errorf("cannot preserve %d descriptors: descriptor %d is not open; open it or lower --preserve-fds", n, fd)
		}
		files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("preserved descriptor %d", fd)))
	}
	return files, nil
}

// inherited tells the caller's descriptors from those that the Go runtime or we
// opened: the latter are close-on-exec, which no inherited one can be.
func inherited(fd uintptr) bool {
	flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// catchSignals starts to collect signals. Catching every signal costs 65 system
// calls, so most of it happens beside the start; those that end a run are
// caught from the first moment.
func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 128)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if signal.Ignored(syscall.SIGHUP) {
		// Under nohup it would be chance whether the program inherits that.
		signal.Notify(signals, syscall.SIGHUP)
	}
	go signal.Notify(signals)
	return signals
}

// explain says why a program died where its own output cannot.
func (inv *invocation) explain(report *runtime.Report) {
	switch report.Reason {
	case runtime.ReasonOOM:
		inv.log.Warn("the kernel's OOM killer ended the program: it needs more memory than its limit; see --memory")
	case runtime.ReasonWallTime:
		inv.log.Warn("the sandbox was ended: its wall time is used up; see --wall-time")
	case runtime.ReasonCPUTime:
		inv.log.Warn("the sandbox was ended: its CPU time is used up; see --cpu-time")
	}
}

func (inv *invocation) printGenerated(t target) {
	if t.generated {
		fmt.Fprintln(inv.streams.out, t.id)
	}
}

func refuseTimeLimits(limits cgroup.Limits) error {
	if limits.WallTime > 0 || limits.CPUTime > 0 {
		return commandline.Usagef("a limit on wall or CPU time needs a supervisor; use sandboxrun run without --detach")
	}
	return nil
}

func join(lists ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
