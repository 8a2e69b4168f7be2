package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// target is the bundle to run and the name to give to the container.
type target struct {
	bundle    string // as the user named it; "" is the working directory
	id        string
	generated bool // nobody named the container
	runcForm  bool // the bundle is no argument, as with runc
}

// parseTarget reads the arguments of run and create:
//
//	[-b DIR] [ID]     runc's form; DIR defaults to the working directory
//	BUNDLE [ID]       where BUNDLE is a directory with a config.json
func parseTarget(c *cli.Context) (target, error) {
	args := c.Args().Slice()
	if err := refuseLateFlags(args); err != nil {
		return target{}, err
	}
	t := target{bundle: c.String("bundle"), runcForm: true}
	if t.bundle == "" && len(args) > 0 && (len(args) == 2 || looksLikeBundle(args[0], c.String("config"))) {
		t.bundle, t.runcForm, args = args[0], false, args[1:]
	}
	if len(args) > 1 {
		return target{}, commandline.Usagef("%s takes a bundle and an ID, not %q too; see sandboxrun %s --help", c.Command.Name, args[1:], c.Command.Name)
	}
	if len(args) == 1 {
		t.id = args[0]
		return t, nil
	}
	t.generated = true
	var err error
	t.id, err = generateID(t.bundle)
	return t, err
}

// refuseLateFlags: whatever follows the first argument is an argument, and a
// flag among them would be taken for a bundle or an ID.
func refuseLateFlags(args []string) error {
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			return commandline.Usagef("%s has to stand before the bundle and the ID", arg)
		}
	}
	return nil
}

// looksLikeBundle tells a path from an ID. A path without a config.json is for
// bundles.Load to complain about.
func looksLikeBundle(arg, config string) bool {
	if strings.Contains(arg, "/") || arg == "." || arg == ".." {
		return true
	}
	if config == "" {
		config = bundles.ConfigFile
	}
	_, err := os.Stat(filepath.Join(arg, config))
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// generateID names a container after its bundle's directory.
func generateID(bundle string) (string, error) {
	dir, err := filepath.Abs(bundle)
	if err != nil {
		return "", fmt.Errorf("make bundle path absolute: %w", err)
	}
	var random [4]byte
	rand.Read(random[:])
	suffix := hex.EncodeToString(random[:])
	if base := filepath.Base(dir); runtime.ValidID(base + "-" + suffix) {
		return base + "-" + suffix, nil
	}
	return "sandbox-" + suffix, nil
}
