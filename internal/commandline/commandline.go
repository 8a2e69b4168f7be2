package commandline

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/urfave/cli/v2"
)

// ErrUsage marks errors in the command line itself.
var ErrUsage = errors.New("usage")

type usageProblem struct{ text string }

func (u usageProblem) Error() string      { return u.text }
func (usageProblem) Is(target error) bool { return target == ErrUsage }

// Usagef returns an error that wraps ErrUsage and says nothing but its own text.
func Usagef(format string, args ...any) error {
	return usageProblem{fmt.Sprintf(format, args...)}
}

// OnUsageError is for the field of cli.App and cli.Command.
func OnUsageError(c *cli.Context, err error, _ bool) error {
	return Usagef("%v; see %s --help", err, c.Command.HelpName)
}

// PrintError prints err on one line where people and programs look for it: in the
// log, if there is one, and on stderr, unless that is where the log goes.
func PrintError(err error, log *slog.Logger, logIsStderr bool, stderr io.Writer) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if log != nil {
		log.Error(text) //nolint:sloglint // the text is the record: containerd shows it
	}
	if log == nil || !logIsStderr {
		fmt.Fprintln(stderr, "sandboxrun: "+text)
	}
}

// DefaultStateRoot is the default of --root for root.
const DefaultStateRoot = "/run/sandboxrun"

// StateRoot is the default of --root: $XDG_RUNTIME_DIR/sandboxrun for an ordinary
// user and for the root of a user namespace, as with runc.
func StateRoot(euid int, getenv func(string) string) string {
	dir := getenv("XDG_RUNTIME_DIR")
	if dir != "" && (euid != 0 || userns.RunningInUserNS() && getenv("USER") != "root") {
		return filepath.Join(dir, "sandboxrun")
	}
	return DefaultStateRoot
}

// DataRootFlag is --data-root.
func DataRootFlag() cli.Flag {
	return &cli.StringFlag{Name: "data-root", Usage: "keep images and bundles' files in `DIR` (default: /var/lib/sandboxrun; for other users $XDG_DATA_HOME/sandboxrun)"}
}
