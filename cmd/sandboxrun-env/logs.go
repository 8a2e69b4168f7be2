package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/logs"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) logsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show what services have printed",
		ArgsUsage: "[SERVICE...]",
		Description: `The logs of a killed environment can be read too, until "env down" or "env gc".

EXAMPLES:
   sandboxrun env logs
   sandboxrun env logs -f --tail 20 web
   sandboxrun env logs --since 5m -t --format json`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the environment ends"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Value: "all", Usage: "show the last `NUMBER` of lines of each container"},
			&cli.StringFlag{Name: "since", Usage: "show lines after `TIME`: 10m ago, or an RFC 3339 time"},
			&cli.StringFlag{Name: "until", Usage: "show lines before `TIME`"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "print the time of each line"},
			&cli.BoolFlag{Name: "no-log-prefix", Usage: "print lines without the container's name"},
			&cli.BoolFlag{Name: "no-color", Usage: "use no colours"},
			&cli.IntFlag{Name: "index", Usage: "of the container with this `NUMBER` only"},
			&cli.StringFlag{Name: "format", Value: "text", Usage: "text or json"},
		}, projectFlags(false)...),
		Action: inv.logs,
	}
}

func (inv *invocation) logs(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	query, err := parseQuery(c, time.Now())
	if err != nil {
		return err
	}
	name, err := inv.environmentName(c)
	if err != nil {
		return err
	}
	record, err := inv.roots.Load(name)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(record.Plan, &p); err != nil {
		return fmt.Errorf("read plan of environment %q: %w", name, err)
	}
	if query.Instances, err = instancesOf(&p, c.Args().Slice(), c.Int("index")); err != nil {
		return err
	}
	ctx, stop := interruptible(c)
	defer stop()
	if query.Follow {
		ended := make(chan struct{})
		query.Ended = ended
		var watching sync.WaitGroup
		watchCtx, leave := context.WithCancel(ctx)
		defer watching.Wait()
		defer leave()
		watching.Go(func() {
			defer close(ended)
			// However it ends, nothing more is printed then.
			control.NewClient(record.Paths().Control).Watch(watchCtx, func(control.Event) error { return nil }) //nolint:errcheck // see above
		})
	}
	show := inv.entryPrinter(&p, c, asJSON)
	return logs.Read(ctx, record.Paths().Logs, query, show)
}

func (inv *invocation) entryPrinter(p *plan.Plan, c *cli.Context, asJSON bool) func(logs.Entry) error {
	if asJSON {
		return func(e logs.Entry) error { return inv.printJSON(logLineOf(e)) }
	}
	f := newPrefixer(inv.streams.out, p, prefixOptions{
		plain: c.Bool("no-log-prefix"), timestamps: c.Bool("timestamps"), color: inv.wantsColor(inv.streams.out, c.Bool("no-color")), all: true,
	})
	return func(e logs.Entry) error { return f.line(e.Instance, e.Time, e.Line) }
}

// logLine is a line of env logs --format json.
type logLine struct {
	Instance string      `json:"instance"`
	Time     time.Time   `json:"time"`
	Stream   logs.Stream `json:"stream"`
	// Line is UTF-8; other bytes are replaced.
	Line    string `json:"line"`
	Partial bool   `json:"partial,omitempty"`
}

func logLineOf(e logs.Entry) logLine {
	return logLine{e.Instance, e.Time, e.Stream, string(e.Line), e.Partial}
}

func parseQuery(c *cli.Context, now time.Time) (logs.Query, error) {
	q := logs.Query{Tail: -1, Follow: c.Bool("follow")}
	if tail := c.String("tail"); tail != "all" {
		n, err := strconv.Atoi(tail)
		if err != nil || n < 0 {
			return q, commandline.Usagef("--tail %q: it must be a number or all", tail)
		}
		q.Tail = n
	}
	for flag, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if c.String(flag) == "" {
			continue
		}
		at, err := parseTime(c.String(flag), now)
		if err != nil {
			return q, err
		}
		*to = at
	}
	return q, nil
}

// instancesOf are the names of the named services' containers; none means all.
func instancesOf(p *plan.Plan, services []string, index int) ([]string, error) {
	var list []control.InstanceStatus
	for _, s := range p.Services {
		for _, i := range s.Instances {
			list = append(list, control.InstanceStatus{Service: s.Name, Name: i.Name, Index: i.Index})
		}
	}
	list, err := chosen(list, services)
	if err != nil || len(services) == 0 && index == 0 {
		return nil, err
	}
	var names []string
	for _, i := range list {
		if index == 0 || i.Index == index {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no container number %d; sandboxrun env ps --all lists them", index)
	}
	return names, nil
}

// follow prints the output of attached services until the environment has ended.
func (inv *invocation) follow(s *session, out io.Writer, o outputOptions) *sync.WaitGroup {
	var following sync.WaitGroup
	f := newPrefixer(out, s.plan, prefixOptions{plain: o.noPrefix, timestamps: o.timestamps, color: inv.wantsColor(out, o.noColor)})
	following.Go(func() {
		query := logs.Query{Instances: attached(s.plan), Tail: -1, Follow: true, Ended: s.gone}
		if len(query.Instances) == 0 {
			return
		}
		err := logs.Read(context.Background(), s.paths.Logs, query, func(e logs.Entry) error {
			return s.live.print(func() error { return f.line(e.Instance, e.Time, e.Line) })
		})
		if err != nil {
			inv.log.Warn("cannot show the services' output", "error", err)
		}
	})
	return &following
}

// attached are the instances whose output is shown.
func attached(p *plan.Plan) []string {
	var names []string
	for _, s := range p.Services {
		for _, i := range s.Instances {
			if s.Attach {
				names = append(names, i.Name)
			}
		}
	}
	return names
}

// printAll prints what was printed until now.
func (inv *invocation) printAll(s *session, out io.Writer, o outputOptions) error {
	names := attached(s.plan)
	if len(names) == 0 {
		return nil
	}
	if _, err := os.Stat(s.paths.Logs); err != nil {
		return nil //nolint:nilerr // nothing was started
	}
	f := newPrefixer(out, s.plan, prefixOptions{plain: o.noPrefix, timestamps: o.timestamps, color: inv.wantsColor(out, o.noColor)})
	return logs.Read(context.Background(), s.paths.Logs, logs.Query{Instances: slices.Clone(names), Tail: -1}, func(e logs.Entry) error {
		return f.line(e.Instance, e.Time, e.Line)
	})
}
