package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
)

func (inv *invocation) listCommand() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list environments",
		Description: `EXAMPLES:
   sandboxrun env ls
   sandboxrun env ls --all --format json`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "list dead ones and kept volumes, too"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names only"},
			formatFlag(),
		},
		Action: inv.list,
	}
}

// listed is a line of env ls.
type listed struct {
	Name string `json:"name"`
	// Status is a phase; dead where its supervisor has ended, kept where only volumes are
	// there, launching where it cannot be asked yet, hung where it does not answer.
	Status    string     `json:"status"`
	Services  int        `json:"containers"`
	Ready     int        `json:"ready"`
	CreatedAt *time.Time `json:"created_at"`
	Dir       string     `json:"dir,omitempty"`
	Files     []string   `json:"files"`
	// Problem says why the record cannot be read.
	Problem string `json:"problem,omitempty"`
}

func (inv *invocation) list(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	all, err := inv.roots.List()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(e environment.Environment) bool { return !e.Alive && !c.Bool("all") })
	list := make([]listed, len(all))
	// At once: one that hangs must not hold up the others, nor two take twice the time.
	var asking sync.WaitGroup
	for n, e := range all {
		asking.Go(func() { list[n] = inv.describe(c, e) })
	}
	asking.Wait()
	switch {
	case c.Bool("quiet"):
		var names []string
		for _, l := range list {
			names = append(names, l.Name)
		}
		return inv.printLines(names)
	case asJSON:
		return inv.printJSON(list)
	}
	w := table(inv.streams.out, "NAME", "STATUS", "READY", "CREATED", "FILES")
	for _, l := range list {
		created, ready := "-", "-"
		if l.CreatedAt != nil {
			created = age(time.Since(*l.CreatedAt)) + " ago"
		}
		if l.Services > 0 {
			ready = fmt.Sprintf("%d/%d", l.Ready, l.Services)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.Status, ready, created, dash(strings.Join(l.Files, ", ")+l.Problem))
	}
	return w.Flush()
}

func (inv *invocation) describe(c *cli.Context, e environment.Environment) listed {
	l := listed{Name: e.Name, Status: "dead", Files: []string{}}
	if e.Record != nil {
		l.CreatedAt, l.Dir, l.Files = &e.Record.CreatedAt, e.Record.Dir, e.Record.Files
	}
	switch {
	case e.Problem != nil:
		l.Problem = e.Problem.Error()
	case e.Record == nil && e.VolumesKept:
		l.Status = "kept"
	}
	if !e.Alive {
		return l
	}
	l.Status = "launching"
	status, err := answered(c.Context, control.NewClient(inv.roots.Of(e.Name).Control).Status)
	if errors.Is(err, errNoAnswer) {
		l.Status = "hung"
	}
	if err != nil {
		return l
	}
	l.Status, l.Services = string(status.Phase), len(status.Instances)
	for _, i := range status.Instances {
		if i.Ready || i.State == control.Exited && i.ExitCode != nil && *i.ExitCode == 0 {
			l.Ready++
		}
	}
	return l
}
