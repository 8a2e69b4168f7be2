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

// The programs that know bundle, image and env: the libraries that they need would
// cost every start of a sandbox their initialisation, twice.
const (
	imagesCompanion       = "sandboxrun-images"
	environmentsCompanion = "sandboxrun-env"
)

func (inv *invocation) bundleCommand() *cli.Command {
	return companionCommand(imagesCompanion, "bundle", "build, inspect, compare, mount and remove bundles")
}

func (inv *invocation) imageCommand() *cli.Command {
	return companionCommand(imagesCompanion, "image", "pull, list and remove images, and look after the store")
}

func (inv *invocation) envCommand() *cli.Command {
	return companionCommand(environmentsCompanion, "env", "run the services of a compose file, or a test beside them")
}

// companionCommand is a command that a companion carries out, help included.
func companionCommand(companion, name, usage string) *cli.Command {
	return &cli.Command{
		Name:            name,
		Usage:           usage,
		SkipFlagParsing: true,
		Action:          func(*cli.Context) error { return becomeCompanion(companion, name) },
	}
}

// becomeCompanion replaces this process by a companion, with the same command
// line, environment and streams. It returns only if that fails.
func becomeCompanion(companion, command string) error {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return fmt.Errorf("find the directory of this program: %w", err)
	}
	places := companionPlaces(filepath.Dir(self), companion)
	for _, path := range places {
		err := unix.Exec(path, os.Args, os.Environ())
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("cannot run %s: %w; \"make install\" puts it in place anew", path, err)
		}
	}
	return fmt.Errorf("cannot find %s, which has the command %s: it is neither %s nor %s; \"make install\" installs it beside sandboxrun",
		companion, command, places[0], places[1])
}

// companionPlaces returns where a companion of the program in dir is looked for,
// first choice first.
func companionPlaces(dir, companion string) []string {
	return []string{
		filepath.Join(dir, companion),
		filepath.Join(filepath.Dir(dir), "libexec", "sandboxrun", companion),
	}
}
