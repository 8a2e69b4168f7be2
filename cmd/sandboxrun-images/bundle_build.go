package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
)

const buildDescription = `Makes the bundle DIR from SOURCE, which is one of

   docker://REFERENCE              a registry's image: docker://redis:7
   oci:DIR[:TAG]                   an OCI image layout
   oci-archive:FILE[:TAG]          the same in a tar file
   docker-archive:FILE[:NAME]      what "docker save" writes
   dir:DIR, tar:FILE               a root filesystem
   binary:FILE                     one static program
   host:                           this host's root, with what is secret hidden

The prefix of a path can be left out where the file tells what it is. Without
SOURCE, the service file names it. The image's configuration and the service are
merged as docker does.

--set edits config.json at the end: PATH=VALUE, with names joined by dots, indexes
in brackets and other names in brackets and quotes. Lists and objects are JSON.

EXAMPLES:
   sandboxrun bundle build docker://redis:7 -o redis
   sandboxrun bundle build --service services.yaml#db -o db
   sandboxrun bundle build ./server -o box --set process.cwd=/tmp --set linux.resources.pids.limit=64
   sandboxrun bundle build host: --service nginx.yaml -o web`

func (inv *invocation) bundleBuildCommand() *cli.Command {
	return &cli.Command{
		Name:        "build",
		Usage:       "make a bundle from an image, a directory, a program or this host's root",
		ArgsUsage:   "[SOURCE]",
		Description: buildDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "make the bundle in `DIR`, which is empty or does not exist"},
			&cli.StringFlag{Name: "service", Usage: "run the service that `FILE[#NAME]` describes"},
			&cli.StringSliceFlag{Name: "set", Usage: "set a field of config.json: `PATH=VALUE` (can be repeated)"},
			pullFlag(),
			formatFlag("text"),
		}, loadFlags()...),
		Action: func(c *cli.Context) error {
			o, svc, err := inv.parseBuild(c)
			if err != nil {
				return err
			}
			return inv.build(c, o, svc)
		},
	}
}

// parseBuild reads everything but the source. The flags may come after SOURCE.
func (inv *invocation) parseBuild(c *cli.Context) (build.Options, service.Service, error) {
	o := build.Options{
		StateRoot: inv.stateRoot, Set: c.StringSlice("set"), Rootless: hasOneID(), Lookup: os.LookupEnv, Log: inv.log,
	}
	var svc service.Service
	if err := errors.Join(arguments(c, 0, 1), checkFormat(c, "text")); err != nil {
		return o, svc, err
	}
	if c.String("output") == "" {
		return o, svc, commandline.Usagef("bundle build needs -o DIR, the directory to make")
	}
	dir, err := filepath.Abs(c.String("output"))
	if err != nil {
		return o, svc, fmt.Errorf("make --output absolute: %w", err)
	}
	o.Dir = dir
	if at := c.String("service"); at != "" {
		file, name, _ := strings.Cut(at, "#")
		if svc, err = service.Read(file, name, os.LookupEnv); err != nil {
			return o, svc, err
		}
	}
	return o, svc, nil
}

func (inv *invocation) build(c *cli.Context, o build.Options, svc service.Service) error {
	text, dir := c.Args().First(), ""
	switch {
	case text != "" && svc.Source.Text != "":
		return commandline.Usagef("both SOURCE and the service file name a source; leave one of them out")
	case text == "" && svc.Source.Text == "":
		return commandline.Usagef("bundle build needs a SOURCE, or a service file that names one; see sandboxrun bundle build --help")
	case text == "":
		text, dir = svc.Source.Text, svc.Source.Dir
	}
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return fmt.Errorf("find the working directory: %w", err)
		}
	}
	load, err := inv.loadOptions(c, svc.Platform)
	if err != nil {
		return err
	}
	if load.Pull, err = parsePull(c.String("pull")); err != nil {
		return err
	}
	st, err := inv.openStore()
	if err != nil {
		return err
	}
	source, err := inv.sourceOf(st, text, dir, load, c.Bool("quiet"))
	if err != nil {
		return err
	}
	result, err := build.Build(c.Context, st, source, svc, o)
	if err != nil {
		return err
	}
	return inv.printBuilt(c, result)
}

// built is what build prints as JSON.
type built struct {
	Bundle string `json:"bundle"`
	build.Record
	// Hidden are the paths of this host that a host: bundle does not show.
	Hidden    []string `json:"hidden,omitempty"`
	Submounts []string `json:"submounts,omitempty"`
}

func (inv *invocation) printBuilt(c *cli.Context, r build.Result) error {
	switch r.Ability.Method {
	case "", overlay.Kernel, overlay.KernelUser:
	default:
		if c.Bool("quiet") {
			break
		}
		inv.log.Warn("overlayfs does not work here; the root filesystem is made another way", "reason", r.Ability.String())
	}
	for _, mount := range r.Submounts {
		inv.log.Warn("a filesystem of this host is not in the sandbox; bind it with volumes if it is needed", "path", mount)
	}
	if c.String("format") == "json" {
		out := built{Bundle: r.Dir, Record: r.Record, Submounts: r.Submounts}
		for _, h := range r.Hidden {
			out.Hidden = append(out.Hidden, h.Path)
		}
		return json.NewEncoder(inv.streams.out).Encode(out)
	}
	_, err := fmt.Fprintln(inv.streams.out, r.Dir)
	return err
}
