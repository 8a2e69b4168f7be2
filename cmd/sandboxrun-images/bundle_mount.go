package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func (inv *invocation) bundleMountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "mount bundles' root filesystems again, as after a reboot",
		ArgsUsage: "DIR...",
		Description: `Mounts what "bundle build" had mounted, and brings the secrets back, from where they
came. What is mounted already stays as it is.

EXAMPLES:
   sandboxrun bundle mount redis`,
		Action: func(c *cli.Context) error {
			return inv.eachBundle(c, func(dir string) error {
				st, err := inv.storeOf(dir)
				if err != nil {
					return err
				}
				mounted, err := build.Mount(c.Context, st, dir, build.Options{StateRoot: inv.stateRoot, Lookup: os.LookupEnv, Log: inv.log})
				if mounted {
					fmt.Fprintln(inv.streams.out, dir)
				}
				return err
			})
		},
	}
}

func (inv *invocation) bundleRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Aliases:   []string{"rm"},
		Usage:     "unmount bundles and remove them with their volumes",
		ArgsUsage: "DIR...",
		Description: `Removes the directory, what the sandbox wrote, its volumes and secrets. Directories of
this host that it binds are left alone; so is the image. A bundle that a container runs from is
refused.

EXAMPLES:
   sandboxrun bundle remove redis`,
		Action: func(c *cli.Context) error {
			return inv.eachBundle(c, func(dir string) error {
				st, err := inv.storeOf(dir)
				if err != nil {
					return err
				}
				return build.Remove(c.Context, st, dir)
			})
		},
	}
}

// storeOf opens the store that a bundle was built with.
func (inv *invocation) storeOf(dir string) (*store.Store, error) {
	r, err := build.LoadOwn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		// A removal that was killed may have taken it so far; openStore ends that.
		if _, sweepErr := inv.openStore(); sweepErr != nil {
			return nil, sweepErr
		}
	}
	if err != nil {
		return nil, err
	}
	inv.dataRoot = r.DataRoot
	return inv.openStore()
}

// eachBundle does something with each bundle of the command line; one that fails
// keeps no other from its turn.
func (inv *invocation) eachBundle(c *cli.Context, do func(dir string) error) error {
	if err := arguments(c, 1, -1); err != nil {
		return err
	}
	var problems []error
	for _, arg := range c.Args().Slice() {
		dir, err := absolute(arg)
		if err == nil {
			err = do(dir)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
