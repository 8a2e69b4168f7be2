package main

import (
	"bytes"
	"context"
	"errors"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

const (
	// statsInterval is between two tables; firstLook is how long the first CPU figures are
	// measured.
	statsInterval = time.Second
	firstLook     = 300 * time.Millisecond
)

func (inv *invocation) statsCommand() *cli.Command {
	return &cli.Command{
		Name:      "stats",
		Usage:     "show what services use, beside what they may use",
		ArgsUsage: "[SERVICE...]",
		Description: `A figure that this kernel does not give is "-".

EXAMPLES:
   sandboxrun env stats
   sandboxrun env stats --no-stream --format json`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "no-stream", Usage: "print once, and not every second"},
			formatFlag(),
		}, projectFlags(true)...),
		Action: inv.stats,
	}
}

func (inv *invocation) stats(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	up, err := inv.connect(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c)
	defer stop()
	before, err := answered(ctx, up.client.Stats)
	if err != nil {
		return up.explain(err)
	}
	if err := checkNames(before, c.Args().Slice()); err != nil {
		return err
	}
	drawn := 0
	for wait := firstLook; ; wait = statsInterval {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		now, err := answered(ctx, up.client.Stats)
		switch {
		case ctx.Err() != nil, errors.Is(err, control.ErrNotRunning) && wait != firstLook:
			return nil
		case err != nil:
			return up.explain(err)
		}
		list := usages(now, before, c.Args().Slice())
		if asJSON {
			err = inv.printJSON(list)
		} else {
			drawn, err = inv.redrawTable(list, drawn)
		}
		if err != nil || c.Bool("no-stream") {
			return err
		}
		before = now
	}
}

func checkNames(all []control.InstanceStats, names []string) error {
	var known []control.InstanceStatus
	for _, s := range all {
		known = append(known, control.InstanceStatus{Service: s.Service, Name: s.Name})
	}
	_, err := chosen(known, names)
	return err
}

// usages are those of the named services at two looks.
func usages(now, before []control.InstanceStats, names []string) []usage {
	list := []usage{}
	for _, s := range now {
		if len(names) > 0 && !slices.Contains(names, s.Service) && !slices.Contains(names, s.Name) {
			continue
		}
		var last *control.InstanceStats
		if at := slices.IndexFunc(before, func(b control.InstanceStats) bool { return b.Name == s.Name && b.Restarts == s.Restarts }); at >= 0 {
			last = &before[at]
		}
		list = append(list, usageOf(s, last))
	}
	return list
}

// redrawTable prints a table over the one before it, of drawn lines, on a terminal.
func (inv *invocation) redrawTable(list []usage, drawn int) (int, error) {
	var text bytes.Buffer
	if err := writeUsage(&text, list); err != nil {
		return 0, err
	}
	lines := bytes.Count(text.Bytes(), []byte{'\n'})
	if isTerminal(inv.streams.out) && drawn > 0 {
		text = *bytes.NewBufferString(strings.Repeat("\x1b[A\x1b[2K", drawn) + "\r" + text.String())
	}
	_, err := inv.streams.out.Write(text.Bytes())
	return lines, err
}

// interruptible is a context that ends with Ctrl-C and its like.
func interruptible(c *cli.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(c.Context, endSignals()...)
}
