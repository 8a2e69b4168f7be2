package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func (inv *invocation) imagePullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "bring images from registries into the store",
		ArgsUsage: "REFERENCE...",
		Description: `Credentials are those of docker (~/.docker/config.json and its helpers). A pull that was
interrupted is gone on with by the next. What is there already is not fetched again.

EXAMPLES:
   sandboxrun image pull redis:7
   sandboxrun image pull --platform linux/arm64 debian:12
   sandboxrun image pull registry.example.org/team/app@sha256:...`,
		Flags: append([]cli.Flag{formatFlag("text")}, loadFlags()...),
		Action: func(c *cli.Context) error {
			return inv.loadImages(c, image.PullAlways, func(arg string) string {
				return string(image.Registry) + "://" + strings.TrimPrefix(arg, string(image.Registry)+"://")
			})
		},
	}
}

func (inv *invocation) imageLoadCommand() *cli.Command {
	return &cli.Command{
		Name:      "load",
		Usage:     "bring images from archives, layouts and directories into the store",
		ArgsUsage: "SOURCE...",
		Description: `SOURCE is one that "bundle build" takes, but host:.

EXAMPLES:
   sandboxrun image load docker-archive:redis.tar
   sandboxrun image load --name base dir:/srv/rootfs`,
		Flags: append([]cli.Flag{
			formatFlag("text"),
			&cli.StringFlag{Name: "name", Usage: "keep the image under the reference `NAME`"},
		}, loadFlags()...),
		Action: func(c *cli.Context) error {
			return inv.loadImages(c, image.PullMissing, func(arg string) string { return arg })
		},
	}
}

// loadImages loads each argument and prints what came of it.
func (inv *invocation) loadImages(c *cli.Context, pull image.Pull, source func(arg string) string) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	if err := checkFormat(c, "text"); err != nil {
		return err
	}
	o, err := inv.loadOptions(c, "")
	if err != nil {
		return err
	}
	o.Pull, o.Name = pull, c.String("name")
	if o.Name != "" && c.NArg() > 1 {
		return commandline.Usagef("--name is for one SOURCE")
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	st, err := inv.openStore()
	if err != nil {
		return err
	}
	for _, arg := range c.Args().Slice() {
		if err := inv.loadImage(c, st, source(arg), dir, o); err != nil {
			return err
		}
	}
	return nil
}

// loaded is what pull and load print as JSON.
type loaded struct {
	Reference string          `json:"reference"`
	Digest    manifest.Digest `json:"digest"`
	Layers    int             `json:"layers"`
}

func (inv *invocation) loadImage(c *cli.Context, st *store.Store, text, dir string, o image.Options) error {
	parsed, err := image.ParseSource(text, dir)
	if err != nil {
		return err
	}
	l := loader{inv, st, parsed, o, c.Bool("quiet")}
	found, err := l.load(c.Context)
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return json.NewEncoder(inv.streams.out).Encode(loaded{found.Reference, found.Digest, len(found.Layers)})
	}
	_, err = fmt.Fprintf(inv.streams.out, "%s %s\n", found.Reference, found.Digest)
	return err
}

func (inv *invocation) imageRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"remove"},
		Usage:     "remove references of images",
		ArgsUsage: "REFERENCE...",
		Description: `Removes the reference; the content goes with the next "image prune", unless another image
or a bundle uses it.

EXAMPLES:
   sandboxrun image rm redis:7`,
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1); err != nil {
				return err
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			var problems []error
			for _, arg := range c.Args().Slice() {
				problems = append(problems, untag(st, arg))
			}
			return errors.Join(problems...)
		},
	}
}

// untag takes a reference as "image ls" shows it, or as it was pulled.
func untag(st *store.Store, reference string) error {
	err := st.Untag(reference)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if src, parseErr := image.ParseSource(string(image.Registry)+"://"+strings.TrimPrefix(reference, string(image.Registry)+"://"), "/"); parseErr == nil {
		if again := st.Untag(src.Reference); !errors.Is(again, store.ErrNotFound) {
			return again
		}
	}
	return fmt.Errorf("cannot remove image %q: %w; \"sandboxrun image ls\" lists what there is", reference, store.ErrNotFound)
}
