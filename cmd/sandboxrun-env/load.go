package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/compose"
	"github.com/sandboxrun/sandboxrun/environment/launch"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// composeOptions turns the project's flags into what reads the files.
func (inv *invocation) composeOptions(p project) compose.Options {
	return compose.Options{
		Files: p.files, Stdin: inv.streams.in, Dir: p.dir, Name: p.name, Profiles: p.profiles, EnvFiles: p.envFiles,
		Environ: os.Environ(), IgnoreUnsupported: p.ignoreUnsupported,
	}
}

// loadPlan reads the files, tells what of them has no effect, and plans.
func (inv *invocation) loadPlan(ctx context.Context, p project, a adjustment) (*plan.Plan, error) {
	o := inv.composeOptions(p)
	o.Adjust = a.apply
	planned, ignored, err := compose.Load(ctx, o)
	for _, i := range ignored {
		inv.log.Warn(i.String()) //nolint:sloglint // the text names file and line
	}
	if err != nil {
		return nil, err
	}
	inv.secretVariable = inv.getenv
	if slices.ContainsFunc(planned.Secrets, func(s plan.Secret) bool { return s.Variable != "" }) {
		variables, err := compose.Variables(o)
		if err != nil {
			return nil, err
		}
		inv.secretVariable = func(name string) (string, bool) { value, set := variables[name]; return value, set }
	}
	return planned, nil
}

// environmentName is the name of the environment that is meant. The files are read
// only where neither a flag nor a variable gives it.
func (inv *invocation) environmentName(c *cli.Context) (string, error) {
	p := projectOf(c)
	if p.name != "" {
		return p.name, environment.CheckName(p.name)
	}
	name, err := compose.Name(c.Context, inv.composeOptions(p))
	if errors.Is(err, compose.ErrNoFile) {
		return "", fmt.Errorf("%w; -p names an environment without one", err)
	}
	return name, err
}

// launchOptions say how an environment is launched.
type launchOptions struct {
	pull                     string
	quietPull, dieWithParent bool
}

// broughtUp is an environment that was launched, and how long that took.
type broughtUp struct {
	*launch.Launched
	images, launch time.Duration
}

// bringUp brings the images and launches the environment. On an error nothing of it
// is left.
func (inv *invocation) bringUp(ctx context.Context, p *plan.Plan, o launchOptions) (*broughtUp, error) {
	began := time.Now()
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot run an environment as an ordinary user: its networks and control groups need root's rights; run it as root")
	}
	if err := inv.bringImages(ctx, p, o.pull, o.quietPull); err != nil {
		return nil, interruptedWhile(p.Name, "its images were brought", err)
	}
	supervisor, err := siblingProgram("sandboxrun")
	if err != nil {
		return nil, err
	}
	up := &broughtUp{images: time.Since(began)}
	up.Launched, err = launch.Launch(ctx, launch.Options{
		Roots: inv.roots, Plan: p, Executable: supervisor, Flags: inv.logFlags, DieWithParent: o.dieWithParent, Lookup: inv.secretVariable,
	})
	up.launch = time.Since(began) - up.images
	if err != nil {
		return nil, interruptedWhile(p.Name, "it was launched", err)
	}
	// No progress, which --quiet is about: something of the host is not as it was.
	for _, notice := range up.Notices {
		fmt.Fprintf(inv.streams.err, "%s: egress: %s\n", p.Name, notice)
	}
	return up, nil
}

// interruptedWhile says what an interrupt has ended, where err is one.
func interruptedWhile(name, what string, err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("environment %q did not come up: %w, while %s", name, err, what)
}
