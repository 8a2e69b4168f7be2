package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "show what happens in an environment until it ends",
		ArgsUsage: "[SERVICE...]",
		Description: `EXAMPLES:
   sandboxrun env events
   sandboxrun env events --json --since 10m web`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print a line of JSON for each event"},
			&cli.StringFlag{Name: "since", Usage: "begin with what happened after `TIME`: 10m ago, or an RFC 3339 time; all: everything that is known"},
		}, projectFlags(true)...),
		Action: func(c *cli.Context) error {
			since, err := parseTime(c.String("since"), time.Now())
			if err != nil {
				return err
			}
			up, err := inv.connect(c)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			services := c.Args().Slice()
			err = up.client.Watch(ctx, func(e control.Event) error {
				if e.At.Before(since) || len(services) > 0 && !slices.Contains(services, e.Service) {
					return nil
				}
				if c.Bool("json") {
					return inv.printJSON(e)
				}
				_, err := fmt.Fprintln(inv.streams.out, eventLine(e))
				return err
			})
			if ctx.Err() != nil {
				return nil
			}
			return up.explain(err)
		},
	}
}

// parseTime reads a time or how long ago it was. An empty text is now, "all" the
// beginning.
func parseTime(text string, now time.Time) (time.Time, error) {
	switch text {
	case "":
		return now, nil
	case "all":
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, commandline.Usagef("%q is no time; write 10m (ago) or 2026-11-23T12:00:00Z", text)
}

// eventLine is an event for people.
func eventLine(e control.Event) string {
	words := []string{e.At.Format(time.RFC3339Nano), string(e.Kind)}
	for _, word := range []string{e.Instance, string(e.Phase), e.Detail} {
		if word != "" {
			words = append(words, word)
		}
	}
	if e.ExitCode != nil {
		words = append(words, fmt.Sprintf("code=%d", *e.ExitCode))
	}
	if e.Failure != nil {
		words = append(words, fmt.Sprintf("stage=%s error=%q", e.Failure.Stage, e.Failure.Error))
	}
	return strings.Join(words, " ")
}
