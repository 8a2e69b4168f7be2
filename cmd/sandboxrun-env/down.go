package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) downCommand() *cli.Command {
	return &cli.Command{
		Name:  "down",
		Usage: "stop an environment and remove everything of it",
		Description: `Services are stopped in reverse order of their dependencies. Afterwards it is looked for
what might be left; that is named, and the exit code is 1.

EXAMPLES:
   sandboxrun env down
   sandboxrun env down -t 1 -p shop
   sandboxrun env down --keep-volumes`,
		Flags: append([]cli.Flag{
			stopTimeoutFlag(),
			&cli.BoolFlag{Name: "keep-volumes", Usage: "leave named volumes for the next environment of this name"},
			&cli.BoolFlag{Name: "volumes", Aliases: []string{"v"}, Usage: "remove named volumes (the default)"},
			&cli.BoolFlag{Name: "remove-orphans", Hidden: true},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress"},
		}, projectFlags(true)...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if c.Bool("volumes") && c.Bool("keep-volumes") {
				return commandline.Usagef("--volumes and --keep-volumes contradict each other; choose one")
			}
			grace, err := parseGrace(c)
			if err != nil {
				return err
			}
			name, err := inv.environmentName(c)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			return inv.takeDown(ctx, name, downOptions{grace: grace, keepVolumes: c.Bool("keep-volumes"), quiet: c.Bool("quiet")})
		},
	}
}

func stopTimeoutFlag() cli.Flag {
	return &cli.StringFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "give services this `TIME` to stop before they are killed: 5, 5s (default: each its own)"}
}

// parseGrace reads the flag timeout: a number is seconds; nil is each service's own.
func parseGrace(c *cli.Context) (*time.Duration, error) {
	text := c.String("timeout")
	if text == "" {
		return nil, nil
	}
	d, err := parseSeconds(text)
	if err != nil {
		return nil, commandline.Usagef("--timeout %q: it is no time; write 5 or 5s", text)
	}
	return &d, nil
}

// parseSeconds reads a duration; a bare number is seconds.
func parseSeconds(text string) (time.Duration, error) {
	if strings.Trim(text, "0123456789") == "" {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	return d, err
}

// downOptions say how an environment is taken down.
type downOptions struct {
	grace       *time.Duration
	keepVolumes bool
	quiet       bool
}

// takeDown stops and removes an environment that may be up, on its way up, or dead.
func (inv *invocation) takeDown(ctx context.Context, name string, o downOptions) error {
	record, err := inv.roots.Load(name)
	missing := errors.Is(err, environment.ErrNotFound)
	if err != nil && !missing {
		return err
	}
	if alive, err := inv.roots.Alive(name); err != nil || missing && !alive {
		if err != nil {
			return err
		}
		return inv.removeRest(ctx, name, o)
	}
	began := time.Now()
	err = inv.stopRunning(ctx, name, o, began)
	hung := errors.Is(err, errNoAnswer)
	if err != nil && !hung {
		return err
	}
	if hung {
		inv.log.Warn("the supervisor does not answer; killing it and everything of the environment", "name", name, "waited", shortDuration(answerTimeout))
	}
	if record == nil {
		// It was on its way up: there is a record by now, or nothing at all.
		if record, err = inv.roots.Load(name); errors.Is(err, environment.ErrNotFound) {
			return inv.roots.Remove(ctx, name, environment.RemoveOptions{KeepVolumes: o.keepVolumes})
		} else if err != nil {
			return err
		}
	}
	if err := inv.remove(ctx, record, environment.RemoveOptions{KeepVolumes: o.keepVolumes, Kill: hung}); err != nil {
		return err
	}
	if !o.quiet {
		fmt.Fprintf(inv.streams.err, "%s: down in %s\n", name, shortDuration(time.Since(began)))
	}
	return nil
}

// removeRest removes what is left of an environment without a record: volumes that
// were kept, or nothing, which is no error, as with compose.
func (inv *invocation) removeRest(ctx context.Context, name string, o downOptions) error {
	list, err := inv.roots.List()
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name == name {
			return inv.roots.Remove(ctx, name, environment.RemoveOptions{KeepVolumes: o.keepVolumes})
		}
	}
	inv.log.Warn("nothing to take down: there is no environment of this name", "name", name)
	return nil
}

// launchPoll is how often it is looked whether an environment that is on its way up
// can be asked to stop.
const launchPoll = 10 * time.Millisecond

// stopRunning asks the supervisor to stop, and waits for one that is not there yet.
// The error wraps errNoAnswer if it hangs.
func (inv *invocation) stopRunning(ctx context.Context, name string, o downOptions, began time.Time) error {
	times := newTimeline(&plan.Plan{}, began)
	show := newLive(inv.streams.err, name, times, o.quiet, false)
	show.width = 0
	client := control.NewClient(inv.roots.Of(name).Control)
	poll := time.NewTicker(launchPoll)
	defer poll.Stop()
	for {
		_, err := answered(ctx, client.Status)
		if err == nil {
			err = client.Stop(ctx, control.StopRequest{Grace: o.grace, Reason: "down"}, func(e control.Event) error {
				show.note(e)
				return nil
			})
		}
		if !errors.Is(err, control.ErrNotRunning) {
			return err
		}
		if alive, err := inv.roots.Alive(name); err != nil || !alive {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
}

// remove removes an environment that has ended and looks for what is left.
func (inv *invocation) remove(ctx context.Context, record *environment.Record, o environment.RemoveOptions) error {
	left, err := inv.removeAndAudit(ctx, record, o)
	if err != nil {
		return err
	}
	return leftError(record.Name, left)
}

// removeAndAudit is remove for callers that report what is left themselves.
func (inv *invocation) removeAndAudit(ctx context.Context, record *environment.Record, o environment.RemoveOptions) ([]environment.Leftover, error) {
	if err := inv.removeEnded(ctx, record.Name, o); err != nil {
		return nil, err
	}
	return environment.Audit(ctx, record, o)
}

// removeEnded removes an environment whose supervisor has said its last: it may
// take a moment to end.
func (inv *invocation) removeEnded(ctx context.Context, name string, o environment.RemoveOptions) error {
	patience := time.NewTimer(endTimeout)
	defer patience.Stop()
	poll := time.NewTicker(launchPoll)
	defer poll.Stop()
	for {
		err := inv.roots.Remove(ctx, name, o)
		if !errors.Is(err, environment.ErrAlive) {
			return err
		}
		select {
		case <-patience.C:
			return err
		case <-ctx.Done():
			return err
		case <-poll.C:
		}
	}
}

// leftError names what a teardown left; nil for nothing.
func leftError(name string, left []environment.Leftover) error {
	if len(left) == 0 {
		return nil
	}
	var all []string
	for _, l := range left {
		all = append(all, l.String())
	}
	return fmt.Errorf("environment %q is down, but something of it is left: %s; \"sandboxrun env gc\" removes what nobody uses", name, strings.Join(all, ", "))
}
