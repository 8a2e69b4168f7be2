package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

const upDescription = `Without -d the services' output is shown until they have ended or Ctrl-C stops them; a
second Ctrl-C kills them. Then everything is removed, and it is looked for what is left.

EXAMPLES:
   sandboxrun env up
   sandboxrun env up -d --wait --ttl 30m
   sandboxrun env up --exit-code-from tests
   sandboxrun env up --dry-run`

func (inv *invocation) upCommand() *cli.Command {
	return &cli.Command{
		Name:        "up",
		Usage:       "bring up the services of a compose file",
		ArgsUsage:   "[SERVICE...]",
		Description: upDescription,
		Flags: append(slices.Concat([]cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "leave it running in the background, once every container was started"},
			&cli.BoolFlag{Name: "wait", Usage: "with -d, which it implies: return when every service is ready"},
			&cli.StringFlag{Name: "wait-timeout", Usage: "fail if it is not ready within `TIME`: 60, 1m"},
			&cli.BoolFlag{Name: "abort-on-container-exit", Usage: "stop everything when a container has ended, other than a one-shot service that others wait for"},
			&cli.BoolFlag{Name: "abort-on-container-failure", Usage: "stop everything when a container has ended with another code than 0"},
			&cli.StringFlag{Name: "exit-code-from", Usage: "exit with the code of `SERVICE`; implies --abort-on-container-exit"},
			stopTimeoutFlag(),
			&cli.BoolFlag{Name: "no-deps", Usage: "leave out what the named services depend on"},
			&cli.StringSliceFlag{Name: "scale", Usage: "start `SERVICE=NUMBER` containers (can be repeated)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and do nothing"},
			&cli.BoolFlag{Name: "die-with-parent", Usage: "end with this process, even if it is killed; not with -d"},
			&cli.StringFlag{Name: "ttl", Usage: "end by itself after `TIME`, whatever happens: 30m"},
			&cli.BoolFlag{Name: "keep-volumes", Usage: "leave named volumes for the next environment of this name"},
			&cli.StringFlag{Name: "report", Usage: "write what happened to `FILE` at the end, as JSON; not with -d"},
			&cli.StringFlag{Name: "format", Value: "text", Usage: "of --dry-run: text or json"},
		}, outputFlags(), imageFlags()), projectFlags(true)...),
		Action: inv.up,
	}
}

// outputFlags say how output of services looks.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-color", Usage: "use no colours"},
		&cli.BoolFlag{Name: "no-log-prefix", Usage: "print lines without the container's name"},
		&cli.BoolFlag{Name: "timestamps", Usage: "print the time of each line"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress"},
	}
}

// imageFlags say how images come.
func imageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "pull", Usage: "ask registries `WHEN`: missing, always or never (default: each service's pull_policy)"},
		&cli.BoolFlag{Name: "quiet-pull", Usage: "show no progress of images"},
	}
}

// upOptions is what the flags of up say.
type upOptions struct {
	detach, wait, dieWithParent, keepVolumes, asJSON bool
	waitTimeout                                      time.Duration
	grace                                            *time.Duration
	abort                                            abortWhen
	exitCodeFrom, report, pull                       string
	output                                           outputOptions
}

// outputOptions are outputFlags and imageFlags.
type outputOptions struct {
	noColor, noPrefix, timestamps, quiet, quietPull bool
}

// abortWhen is when the end of one container ends all.
type abortWhen int

const (
	abortNever abortWhen = iota
	abortOnFailure
	abortOnExit
)

func outputOf(c *cli.Context) outputOptions {
	return outputOptions{
		noColor: c.Bool("no-color"), noPrefix: c.Bool("no-log-prefix"), timestamps: c.Bool("timestamps"), quiet: c.Bool("quiet"),
		quietPull: c.Bool("quiet-pull") || c.Bool("quiet"),
	}
}

func parseUp(c *cli.Context) (o upOptions, a adjustment, err error) {
	o = upOptions{
		wait: c.Bool("wait"), detach: c.Bool("detach") || c.Bool("wait"), dieWithParent: c.Bool("die-with-parent"), keepVolumes: c.Bool("keep-volumes"),
		asJSON: c.String("format") == "json", exitCodeFrom: c.String("exit-code-from"), output: outputOf(c),
	}
	a = adjustment{services: c.Args().Slice(), noDeps: c.Bool("no-deps")}
	switch {
	case c.Bool("abort-on-container-exit") || o.exitCodeFrom != "":
		o.abort = abortOnExit
	case c.Bool("abort-on-container-failure"):
		o.abort = abortOnFailure
	}
	for flag, set := range map[string]bool{
		"--abort-on-container-exit, --abort-on-container-failure or --exit-code-from": o.abort != abortNever,
		"--die-with-parent": o.dieWithParent, "--report": c.String("report") != "",
	} {
		if o.detach && set {
			return o, a, commandline.Usagef("%s cannot be used with -d or --wait: nobody is there to see it", flag)
		}
	}
	if _, err = wantsJSON(c); err != nil {
		return o, a, err
	}
	if a.scale, err = parseScale(c.StringSlice("scale")); err != nil {
		return o, a, err
	}
	if a.ttl, err = durationFlag(c, "ttl"); err != nil {
		return o, a, err
	}
	if o.grace, err = parseGrace(c); err != nil {
		return o, a, err
	}
	if waitTimeout, err := durationFlag(c, "wait-timeout"); err != nil {
		return o, a, err
	} else if waitTimeout != nil {
		o.waitTimeout = *waitTimeout
	}
	if o.report, err = reportPath(c); err != nil {
		return o, a, err
	}
	o.pull, err = parsePull(c.String("pull"))
	return o, a, err
}

// durationFlag is nil where the flag is not given.
func durationFlag(c *cli.Context, name string) (*time.Duration, error) {
	text := c.String(name)
	if text == "" {
		return nil, nil
	}
	d, err := parseSeconds(text)
	if err != nil || d == 0 {
		return nil, commandline.Usagef("--%s %q: it is no time; write 60 or 1m", name, text)
	}
	return &d, nil
}

// reportPath checks before anything is started that the report can be written.
func reportPath(c *cli.Context) (string, error) {
	path := c.String("report")
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("make --report absolute: %w", err)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return "", fmt.Errorf("cannot write a report to %s: %w; name a file in a directory that exists", path, err)
	}
	return path, nil
}

func (inv *invocation) up(c *cli.Context) error {
	began := time.Now()
	o, a, err := parseUp(c)
	if err != nil {
		return err
	}
	p, err := inv.loadPlan(c.Context, projectOf(c), a)
	if err != nil {
		return err
	}
	if o.exitCodeFrom != "" && !slices.ContainsFunc(p.Services, func(s plan.Service) bool { return s.Name == o.exitCodeFrom }) {
		return fmt.Errorf("--exit-code-from %s: there is no such service", o.exitCodeFrom)
	}
	if c.Bool("dry-run") {
		if o.asJSON {
			return inv.printIndented(p)
		}
		_, err := fmt.Fprint(inv.streams.out, p.Text())
		return err
	}
	if o.detach {
		return inv.upDetached(c, p, o, began)
	}
	return inv.upAttached(c, p, o, began)
}

// upDetached leaves the environment alone once it is up. A failed start is removed.
func (inv *invocation) upDetached(c *cli.Context, p *plan.Plan, o upOptions, began time.Time) error {
	interrupts := newInterrupts(c.Context)
	defer interrupts.end()
	launched, err := inv.bringUp(interrupts.ctx, p, launchOptions{pull: o.pull, quietPull: o.output.quietPull})
	if err != nil {
		return err
	}
	show := newLive(inv.streams.err, p.Name, newTimeline(p, began), o.output.quiet, inv.wantsColor(inv.streams.err, o.output.noColor))
	watching, leave := context.WithCancel(context.Background())
	defer leave()
	s := inv.watch(watching, p, launched, show, nil)
	reached := s.isStarted
	if o.wait {
		reached = s.isReady
	}
	err = s.awaitWithin(interrupts.ctx, o.waitTimeout, reached)
	if err == nil {
		s.leave(leave)
		inv.sayUp(s, o.wait)
		return nil
	}
	reason := "failure"
	if errors.Is(err, context.Canceled) {
		// Before it is stopped: then everything is.
		err = fmt.Errorf("environment %q was %w before it was up, and is taken down again: %s", p.Name, err, s.pending())
		reason = "interrupt"
		s.live.say("%s: stopping; once more kills", p.Name)
	}
	s.stop(control.StopRequest{Grace: o.grace, Reason: reason})
	inv.killOnInterrupt(interrupts, s)
	s.finish()
	return errors.Join(inv.startError(s, err), inv.remove(context.Background(), launched.Record, environment.RemoveOptions{KeepVolumes: o.keepVolumes}))
}

// errNotReady ends a wait for readiness.
var errNotReady = errors.New("not ready in time")

// awaitWithin is await with a limit; 0 is none.
func (s *session) awaitWithin(ctx context.Context, limit time.Duration, reached func() bool) error {
	if limit <= 0 {
		return s.await(ctx, reached)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotReady)
	defer cancel()
	err := s.await(ctx, reached)
	if errors.Is(err, errNotReady) {
		return fmt.Errorf("%w: %s have passed; %s", errNotReady, limit, s.pending())
	}
	return err
}

// sayUp tells that it is up and what the start waited for most.
func (inv *invocation) sayUp(s *session, ready bool) {
	s.live.mu.Lock()
	times := s.live.times
	text := fmt.Sprintf("up in %s", shortDuration(time.Since(times.began)))
	if ready && times.ready != nil {
		text = fmt.Sprintf("ready in %s", shortDuration(times.since(*times.ready)))
		if longest := slowest(times.critical(s.plan)); s.launched.images > time.Second && (longest == nil || s.launched.images.Seconds() > longest.Seconds) {
			text += fmt.Sprintf("; longest: %s to bring images", shortDuration(s.launched.images))
		} else if longest != nil {
			text += fmt.Sprintf("; longest: %s, %s to %s", longest.Instance, shortDuration(time.Duration(longest.Seconds*1e9)), stageText(longest.Stage))
		}
	}
	s.live.mu.Unlock()
	s.live.say("%s: %s", s.plan.Name, text)
}

func stageText(stage string) string {
	if stage == "ready" {
		return "be ready"
	}
	return stage
}

// upAttached shows output until the end and removes everything.
func (inv *invocation) upAttached(c *cli.Context, p *plan.Plan, o upOptions, began time.Time) error {
	interrupts := newInterrupts(c.Context)
	defer interrupts.end()
	launched, err := inv.bringUp(interrupts.ctx, p, launchOptions{pull: o.pull, quietPull: o.output.quietPull, dieWithParent: o.dieWithParent})
	if err != nil {
		return err
	}
	show := newLive(inv.streams.err, p.Name, newTimeline(p, began), o.output.quiet, inv.wantsColor(inv.streams.err, o.output.noColor))
	ends := &endings{plan: p, when: o.abort, from: o.exitCodeFrom, seen: make(chan struct{}, 1)}
	s := inv.watch(context.Background(), p, launched, show, ends.see)
	followed := inv.follow(s, inv.streams.out, o.output)
	err = inv.attend(interrupts, s, ends, o)
	s.finish()
	followed.Wait()
	return inv.conclude(s, o.report, o.keepVolumes, nil, err)
}

// attend stays until the environment has ended or is to end, and stops it.
func (inv *invocation) attend(interrupts *interrupts, s *session, ends *endings, o upOptions) error {
	err := s.awaitWithin(interrupts.ctx, o.waitTimeout, s.isReady)
	if err == nil {
		s.live.settleNow()
		inv.sayUp(s, true)
		err = inv.attendReady(interrupts, s, ends)
	}
	reason := "failure"
	switch {
	case err == nil:
		reason = "a container has ended"
	case errors.Is(err, context.Canceled):
		reason = "interrupt"
		s.live.say("%s: stopping; once more kills", s.plan.Name)
	}
	s.stop(control.StopRequest{Grace: o.grace, Reason: reason})
	inv.killOnInterrupt(interrupts, s)
	if err == nil {
		inv.exitCode = ends.code()
		return nil
	}
	if errors.Is(err, context.Canceled) {
		inv.exitCode = commandline.ExitInterrupted
		return nil
	}
	return inv.startError(s, err)
}

// killOnInterrupt waits for the end. Another Ctrl-C leaves no time, and one more does
// not ask any longer.
func (*invocation) killOnInterrupt(interrupts *interrupts, s *session) {
	for asked := false; ; asked = true {
		select {
		case <-s.gone:
			return
		case <-interrupts.more:
			if asked {
				s.launched.Kill()
			} else {
				s.stop(control.StopRequest{Grace: new(time.Duration), Reason: "interrupt"})
			}
		}
	}
}

// attendReady returns nil when the containers that matter have ended.
func (*invocation) attendReady(interrupts *interrupts, s *session, ends *endings) error {
	for {
		switch {
		case ends.isOver():
			return nil
		case s.isEnding():
			return errGone // by its time to live or another command: containers end, too
		case s.allEnded(interrupts.ctx):
			return nil
		}
		select {
		case <-ends.seen:
		case <-s.gone:
			return errGone
		case <-interrupts.ctx.Done():
			return context.Cause(interrupts.ctx)
		}
	}
}

// conclude writes the report, removes the environment and tells what is left. It
// returns the first of: err, what is left, the report's error.
func (inv *invocation) conclude(s *session, path string, keepVolumes bool, command *commandReport, err error) error {
	r := s.report(time.Now())
	r.Command = command
	left, removeErr := inv.removeAndAudit(context.Background(), s.launched.Record, environment.RemoveOptions{KeepVolumes: keepVolumes})
	for _, l := range left {
		r.Left = append(r.Left, l.String())
	}
	var reportErr error
	if path != "" {
		reportErr = r.write(path)
	}
	return errors.Join(err, removeErr, leftError(s.plan.Name, left), reportErr)
}
