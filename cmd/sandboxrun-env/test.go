package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

const testDescription = `Brings the environment up, waits until every service is ready, runs COMMAND, takes
everything down, and exits with COMMAND's own code (128+n after signal n). It ends with
this process, even if that is killed. Any number of tests run side by side: each has a
name of its own, and every port in ports: and expose: is opened on a free port of
127.0.0.1, which COMMAND finds in its environment:

   SANDBOXRUN_ENV             the environment's name
   <SERVICE>_HOST, _PORT      the service's first port
   <SERVICE>_<PORT>_ADDR      host:port for each port of the service

With --in and --sandbox, COMMAND is beside the services: they have their names and
ports there.

EXAMPLES:
   sandboxrun env test -- go test ./...
   sandboxrun env test --report report.json --logs failed -- ./end-to-end.sh
   sandboxrun env test -f compose.yaml --in api -- /bin/api-selftest
   sandboxrun env test --sandbox -- curl -f http://web/`

func (inv *invocation) testCommand() *cli.Command {
	return &cli.Command{
		Name:        "test",
		Usage:       "run a command against an environment that is there for it alone",
		ArgsUsage:   "-- COMMAND [ARG...]",
		Description: testDescription,
		Flags: append(slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "in", Usage: "run COMMAND in a container of `SERVICE`"},
			&cli.BoolFlag{Name: "sandbox", Usage: "run COMMAND in a container of its own with this host's programs and the project's directory"},
			&cli.StringFlag{Name: "logs", Value: "all", Usage: "show output of services on stderr: all, failed (afterwards, if something failed) or none"},
			&cli.StringFlag{Name: "timeout", Usage: "kill COMMAND and fail with code 124 after `TIME`: 600, 10m"},
			&cli.StringFlag{Name: "wait-timeout", Usage: "fail if it is not ready within `TIME`: 60, 1m"},
			&cli.StringFlag{Name: "stop-timeout", Usage: "give services this `TIME` to stop before they are killed (default: each its own)"},
			&cli.StringFlag{Name: "report", Usage: "write what happened to `FILE`, as JSON"},
			&cli.StringSliceFlag{Name: "scale", Usage: "start `SERVICE=NUMBER` containers (can be repeated)"},
		}, outputFlags(), imageFlags()), projectFlags(true)...),
		Action: inv.test,
	}
}

// exitTimeout is timeout(1)'s.
const exitTimeout = 124

// testOptions is what the flags of test say.
type testOptions struct {
	command              []string
	in                   string
	logs                 string
	timeout, waitTimeout time.Duration
	stopTimeout          *time.Duration
	report, pull         string
	output               outputOptions
	began                time.Time
}

func parseTest(c *cli.Context) (o testOptions, a adjustment, err error) {
	o = testOptions{command: c.Args().Slice(), in: c.String("in"), logs: c.String("logs"), output: outputOf(c), began: time.Now()}
	a = adjustment{test: true}
	if len(o.command) == 0 {
		return o, a, commandline.Usagef("env test needs a command: sandboxrun env test -- COMMAND [ARG...]")
	}
	if !slices.Contains([]string{"all", "failed", "none"}, o.logs) {
		return o, a, commandline.Usagef("--logs %q: it must be all, failed or none", o.logs)
	}
	if o.in != "" && c.Bool("sandbox") {
		return o, a, commandline.Usagef("--in and --sandbox are two places for one command; choose one")
	}
	if a.scale, err = parseScale(c.StringSlice("scale")); err != nil {
		return o, a, err
	}
	for flag, to := range map[string]*time.Duration{"timeout": &o.timeout, "wait-timeout": &o.waitTimeout} {
		d, err := durationFlag(c, flag)
		if err != nil {
			return o, a, err
		}
		if d != nil {
			*to = *d
		}
	}
	if text := c.String("stop-timeout"); text != "" {
		d, err := parseSeconds(text)
		if err != nil {
			return o, a, commandline.Usagef("--stop-timeout %q: it is no time; write 5 or 5s", text)
		}
		o.stopTimeout = &d
	}
	if o.report, err = reportPath(c); err != nil {
		return o, a, err
	}
	o.pull, err = parsePull(c.String("pull"))
	return o, a, err
}

func (inv *invocation) test(c *cli.Context) error {
	o, a, err := parseTest(c)
	if err != nil {
		return err
	}
	pr := projectOf(c)
	if pr.name == "" {
		if a.unique, err = uniqueSuffix(); err != nil {
			return err
		}
	}
	a.sandbox = c.Bool("sandbox")
	p, err := inv.loadPlan(c.Context, pr, a)
	if err != nil {
		return err
	}
	if a.sandbox {
		o.in = sandboxService
	}
	if o.in != "" && !slices.ContainsFunc(p.Services, func(s plan.Service) bool { return s.Name == o.in && len(s.Instances) > 0 }) {
		return fmt.Errorf("--in %s: there is no such service", o.in)
	}
	interrupts := newInterrupts(c.Context)
	defer interrupts.end()
	launched, err := inv.bringUp(interrupts.ctx, p, launchOptions{pull: o.pull, quietPull: o.output.quietPull, dieWithParent: true})
	if err != nil {
		return err
	}
	return inv.testIn(interrupts, p, launched, o)
}

// uniqueSuffix makes the name of a test's environment one of many.
func uniqueSuffix() (string, error) {
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make a name: %w", err)
	}
	return "-" + hex.EncodeToString(random[:]), nil
}

// testIn runs the test in an environment that was launched, and removes that.
func (inv *invocation) testIn(interrupts *interrupts, p *plan.Plan, launched *broughtUp, o testOptions) error {
	show := newLive(inv.streams.err, p.Name, newTimeline(p, o.began), o.output.quiet, inv.wantsColor(inv.streams.err, o.output.noColor))
	s := inv.watch(context.Background(), p, launched, show, nil)
	shown := inv.streams.err
	if o.logs != "all" {
		shown = io.Discard
	}
	followed := inv.follow(s, shown, o.output)
	ran := &commandReport{Args: o.command}
	err := inv.runTest(interrupts, s, o, ran)
	s.stop(control.StopRequest{Grace: o.stopTimeout, Reason: "test"})
	inv.killOnInterrupt(interrupts, s)
	s.finish()
	followed.Wait()
	if o.logs == "failed" && (err != nil || inv.exitCode != 0) {
		if printErr := inv.printAll(s, inv.streams.err, o.output); printErr != nil {
			inv.log.Warn("cannot show the services' output", "error", printErr)
		}
	}
	return inv.conclude(s, o.report, false, ran, err)
}

// runTest waits until the environment is ready and runs the command. Its code is
// the invocation's.
func (inv *invocation) runTest(interrupts *interrupts, s *session, o testOptions, ran *commandReport) error {
	err := s.awaitWithin(interrupts.ctx, o.waitTimeout, s.isReady)
	s.live.settleNow()
	if errors.Is(err, context.Canceled) {
		inv.exitCode = commandline.ExitInterrupted
		return nil
	}
	if err != nil {
		return inv.startError(s, err)
	}
	inv.sayUp(s, true)
	status, err := answered(interrupts.ctx, s.client.Status)
	if err != nil {
		return fmt.Errorf("ask for addresses: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if o.timeout > 0 {
		timer := time.AfterFunc(o.timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	// The command is of no use without the services.
	lost := context.AfterFunc(endOf(ctx, s), func() { cancel(errGone) })
	defer lost()
	began := time.Now()
	var code int
	if o.in != "" {
		code, err = inv.runInside(ctx, interrupts, s, o)
	} else {
		code, err = inv.runOutside(ctx, interrupts, o.command, variables(s.plan.Name, hostEndpoints(*status)))
	}
	ran.Seconds = time.Since(began).Seconds()
	if err == nil {
		ran.ExitCode, inv.exitCode = &code, code
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		inv.exitCode = exitTimeout
		return fmt.Errorf("the command was killed after --timeout %s", o.timeout)
	case errors.Is(cause, errGone):
		inv.exitCode = commandline.ExitFailure
		return inv.startError(s, errGone)
	}
	if err != nil || code != 0 {
		// It may well be why the command failed, and cannot be seen in what that says.
		err = errors.Join(err, s.lostNetwork())
	}
	return err
}

// errTimeout ends a command.
var errTimeout = errors.New("time is up")

// endOf is a context that ends with the environment, or with ctx.
func endOf(ctx context.Context, s *session) context.Context {
	ended, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.watching.Go(func() {
		<-s.gone
		cancel()
	})
	return ended
}

// runInside runs the command beside the services.
func (inv *invocation) runInside(ctx context.Context, interrupts *interrupts, s *session, o testOptions) (int, error) {
	request := control.ExecRequest{Service: o.in, Command: o.command, Environment: variables(s.plan.Name, innerEndpoints(s.plan))}
	if o.in == sandboxService {
		// It stands for a command on the host, which has them all.
		request.Environment = append(os.Environ(), request.Environment...)
		dir, err := os.Getwd()
		if err != nil {
			return 0, fmt.Errorf("find the working directory: %w", err)
		}
		request.WorkingDir = dir
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(interrupts.ctx, func() { cancel(context.Canceled) })()
	streams, closeAll, err := inv.files(false)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	code, err := s.client.Exec(ctx, request, streams)
	if interrupts.ctx.Err() != nil {
		return commandline.ExitInterrupted, nil
	}
	return code, err
}
