package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

// projectFlags say which environment is meant. They may come before the command's
// name and after it. Where -f is --follow, file has no short name.
func projectFlags(shortFile bool) []cli.Flag {
	file := &cli.StringSliceFlag{Name: "file", Usage: "read the compose `FILE`; - is stdin (can be repeated; default: compose.yaml)"}
	if shortFile {
		file.Aliases = []string{"f"}
	}
	return []cli.Flag{
		file,
		&cli.StringFlag{Name: "project-name", Aliases: []string{"p"}, Usage: "call the environment `NAME` (default: COMPOSE_PROJECT_NAME, the file's name:, or the directory's)"},
		&cli.StringSliceFlag{Name: "profile", Usage: "take in the services of the profile `NAME` (can be repeated)"},
		&cli.StringSliceFlag{Name: "env-file", Usage: "take variables from `FILE` in place of .env (can be repeated)"},
		&cli.StringFlag{Name: "project-directory", Usage: "take relative paths from `DIR` (default: that of the first file)"},
		&cli.BoolFlag{Name: "ignore-unsupported", Usage: "go on where the file has keys that are not supported, and list them"},
	}
}

// project is what the project's flags say, before and after the command's name.
type project struct {
	files, profiles, envFiles []string
	name, dir                 string
	ignoreUnsupported         bool
}

// projectOf joins the flags before the command's name with those after it, which win.
func projectOf(c *cli.Context) project {
	var p project
	levels := c.Lineage()
	slices.Reverse(levels)
	for _, level := range levels {
		for _, name := range level.LocalFlagNames() {
			switch name {
			case "file":
				p.files = append(p.files, level.StringSlice(name)...)
			case "profile":
				p.profiles = append(p.profiles, level.StringSlice(name)...)
			case "env-file":
				p.envFiles = append(p.envFiles, level.StringSlice(name)...)
			case "project-name":
				p.name = level.String(name)
			case "project-directory":
				p.dir = level.String(name)
			case "ignore-unsupported":
				p.ignoreUnsupported = level.Bool(name)
			}
		}
	}
	return p
}

// running is an environment that is up.
type running struct {
	name   string
	client *control.Client
	// status is what it was when it was found.
	status *control.Status
}

// connect finds the environment that is meant, and holds that it answers.
func (inv *invocation) connect(c *cli.Context) (*running, error) {
	name, err := inv.environmentName(c)
	if err != nil {
		return nil, err
	}
	up := &running{name: name, client: control.NewClient(inv.roots.Of(name).Control)}
	up.status, err = answered(c.Context, up.client.Status)
	return up, up.explain(err)
}

// explain says what is to be done where the environment is not up, or hangs.
func (up *running) explain(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return fmt.Errorf("cannot reach environment %q: %w; \"sandboxrun env up\" starts it, and -p names another", up.name, control.ErrNotRunning)
	}
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("cannot ask environment %q: %w, after %s; \"sandboxrun env down -p %s\" ends it", up.name, err, answerTimeout, up.name)
	}
	return err
}
