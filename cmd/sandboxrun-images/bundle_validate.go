package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs"
)

// problem is one line of what validate found.
type problem struct {
	// Path is the JSON path in config.json; empty where it is not of a field.
	Path    string `json:"path"`
	Problem string `json:"problem"`
}

func (inv *invocation) bundleValidateCommand() *cli.Command {
	return &cli.Command{
		Name:      "validate",
		Usage:     "tell all that is wrong with a bundle",
		ArgsUsage: "[DIR]",
		Description: `Checks config.json and the root filesystem, and prints each problem with its JSON
path. The exit code is 1 if there is any. Nothing is run.

EXAMPLES:
   sandboxrun bundle validate redis`,
		Flags: []cli.Flag{formatFlag("text")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			if err := checkFormat(c, "text"); err != nil {
				return err
			}
			return inv.printProblems(c, problemsOf(c.Args().First()))
		},
	}
}

func problemsOf(dir string) []problem {
	bundle, err := bundles.Load(dir)
	if err != nil {
		return specProblems(err)
	}
	if _, err := rootfs.Resolve(bundle.Dir, bundle.Spec.Root.Path); err != nil {
		return []problem{{"root.path", err.Error()}}
	}
	return nil
}

// specProblems takes the SpecErrors out of what bundles.Load joined and wrapped.
func specProblems(err error) []problem {
	var list []problem
	var walk func(error)
	walk = func(err error) {
		if spec := (*bundles.SpecError)(nil); errors.As(err, &spec) && err == error(spec) { //nolint:errorlint // this very error, not one that it wraps
			list = append(list, problem{spec.Path, spec.Problem})
			return
		}
		switch e := err.(type) { //nolint:errorlint // each layer is looked at
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	if len(list) == 0 {
		list = append(list, problem{"", err.Error()})
	}
	return list
}

func (inv *invocation) printProblems(c *cli.Context, list []problem) error {
	if len(list) > 0 {
		inv.exitCode = commandline.ExitFailure
	}
	if c.String("format") == "json" {
		if list == nil {
			list = []problem{}
		}
		return json.NewEncoder(inv.streams.out).Encode(list)
	}
	for _, p := range list {
		if p.Path == "" {
			fmt.Fprintln(inv.streams.out, p.Problem)
			continue
		}
		fmt.Fprintf(inv.streams.out, "%s: %s\n", p.Path, p.Problem)
	}
	return nil
}
