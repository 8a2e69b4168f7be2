package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

// mountsTimeout is how long a change waits for others of the same container.
const mountsTimeout = 10 * time.Second

func (inv *invocation) mountsCommand() *cli.Command {
	return &cli.Command{
		Name:      "mounts",
		Usage:     "add mounts to a running container, and remove those again",
		ArgsUsage: "add|remove ID FILE",
		Description: `FILE (- for stdin) has a JSON array in the form of mounts in config.json, as with
crun. Binds with all options and id mappings, and tmpfs, can be added. What was
added is gone with the container at the latest.

EXAMPLES:
   sandboxrun mounts add web mounts.json
   sandboxrun mounts add web /srv/data /data ro,nosuid
   sandboxrun mounts remove --destination /data web`,
		Action: func(c *cli.Context) error {
			return commandline.Usagef("mounts takes add or remove, then a container ID; see sandboxrun mounts --help")
		},
		Subcommands: []*cli.Command{
			{
				Name:      "add",
				Usage:     "mount into a running container",
				ArgsUsage: "ID FILE | ID SOURCE DESTINATION [OPTION,...]",
				Description: `FILE (- for stdin) has a JSON array in the form of mounts in config.json. With
SOURCE and DESTINATION, that file or directory is bound, without what is mounted
below it unless rbind is among the options. A missing destination is made.

EXAMPLES:
   sandboxrun mounts add web /srv/data /data ro,nosuid
   echo '[{"destination": "/scratch", "type": "tmpfs", "source": "tmpfs"}]' |
      sandboxrun mounts add web -`,
				Action: inv.addMounts,
			},
			{
				Name:      "remove",
				Usage:     "unmount what mounts add has mounted",
				ArgsUsage: "ID FILE | ID",
				Description: `Of the mounts in FILE (- for stdin), only the destinations count. What was not
mounted by mounts add is left alone.

EXAMPLES:
   sandboxrun mounts remove web mounts.json
   sandboxrun mounts remove --destination /data web`,
				Flags:  []cli.Flag{&cli.StringSliceFlag{Name: "destination", Usage: "unmount at `PATH` of the container; may be repeated, and needs no FILE"}},
				Action: inv.removeMounts,
			},
		},
	}
}

func (inv *invocation) addMounts(c *cli.Context) error {
	var mounts []specs.Mount
	switch c.NArg() {
	case 2:
		var err error
		if mounts, err = inv.readMounts(c.Args().Get(1)); err != nil {
			return err
		}
	case 3, 4:
		bind := specs.Mount{Source: c.Args().Get(1), Destination: c.Args().Get(2), Type: "bind", Options: []string{"bind"}}
		if options := c.Args().Get(3); options != "" {
			bind.Options = append(bind.Options, strings.Split(options, ",")...)
		}
		mounts = []specs.Mount{bind}
	default:
		return commandline.Usagef("mounts add takes a container ID, and a file or a source and a destination; see sandboxrun mounts add --help")
	}
	if err := absoluteSources(mounts); err != nil {
		return err
	}
	container, err := inv.runtime.Load(c.Args().First())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, mountsTimeout)
	defer cancel()
	return container.AddMounts(ctx, mounts)
}

func (inv *invocation) removeMounts(c *cli.Context) error {
	destinations := c.StringSlice("destination")
	switch {
	case c.NArg() == 2:
		mounts, err := inv.readMounts(c.Args().Get(1))
		if err != nil {
			return err
		}
		for _, m := range mounts {
			destinations = append(destinations, m.Destination)
		}
	case c.NArg() != 1 || len(destinations) == 0:
		return commandline.Usagef("mounts remove takes a container ID, and a file or --destination before it; see sandboxrun mounts remove --help")
	}
	container, err := inv.runtime.Load(c.Args().First())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, mountsTimeout)
	defer cancel()
	return container.RemoveMounts(ctx, destinations)
}

// maxMounts bounds a file of mounts in bytes.
const maxMounts = 1 << 20

func (inv *invocation) readMounts(path string) ([]specs.Mount, error) {
	from := inv.streams.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read mounts: %w", err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxMounts+1))
	if err == nil && len(data) > maxMounts {
		err = errors.New("more than 1 MiB")
	}
	if err != nil {
		return nil, fmt.Errorf("read mounts from %q: %w", path, err)
	}
	mounts, err := parseMounts(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mounts in %q: %w; it must be an array as mounts in config.json", path, err)
	}
	return mounts, nil
}

// parseMounts reads an array in the form of mounts in config.json. A member
// that it does not know is an error, since it would have no effect.
func parseMounts(data []byte) ([]specs.Mount, error) {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	var mounts []specs.Mount
	if err := decoder.Decode(&mounts); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the array")
	}
	if mounts == nil {
		return nil, errors.New("null is no array")
	}
	return mounts, nil
}

// absoluteSources takes the sources of binds as paths of the command line.
func absoluteSources(mounts []specs.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		if m.Type == "tmpfs" || m.Source == "" {
			continue
		}
		absolute, err := filepath.Abs(m.Source)
		if err != nil {
			return fmt.Errorf("make source of mount absolute: %w", err)
		}
		m.Source = absolute
	}
	return nil
}
