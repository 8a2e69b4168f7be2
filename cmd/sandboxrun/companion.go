package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// companionName is the program that knows bundle and image: the libraries that
// it needs would cost every start of a sandbox their initialisation, twice.
const companionName = "sandboxrun-images"

func (inv *invocation) bundleCommand() *cli.Command {
	return inv.companionCommand("bundle", "build, inspect, compare, mount and remove bundles")
}

func (inv *invocation) imageCommand() *cli.Command {
	return inv.companionCommand("image", "pull, list and remove images, and look after the store")
}

// companionCommand is a command that the companion carries out, help included.
func (inv *invocation) companionCommand(name, usage string) *cli.Command {
	return &cli.Command{
		Name:            name,
		Usage:           usage,
		SkipFlagParsing: true,
		Action:          func(*cli.Context) error { return becomeCompanion() },
	}
}

// becomeCompanion replaces this process by the companion, with the same command
// line, environment and streams. It returns only if that fails.
func becomeCompanion() error {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return fmt.Errorf("find the directory of this program: %w", err)
	}
	places := companionPlaces(filepath.Dir(self))
	for _, path := range places {
		err := unix.Exec(path, os.Args, os.Environ())
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("cannot run %s: %w; \"make install\" puts it in place anew", path, err)
		}
	}
	return fmt.Errorf("cannot find %s, which has the commands bundle and image: it is neither %s nor %s; \"make install\" installs it beside sandboxrun",
		companionName, places[0], places[1])
}

// companionPlaces returns where the companion of the program in dir is looked
// for, first choice first.
func companionPlaces(dir string) []string {
	return []string{
		filepath.Join(dir, companionName),
		filepath.Join(filepath.Dir(dir), "libexec", "sandboxrun", companionName),
	}
}
