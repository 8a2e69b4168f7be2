package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/logging"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// invocation is one run of the program: its streams, what the global flags
// say, and the exit code it ends with.
type invocation struct {
	streams  stdio
	runtime  *runtime.Runtime
	log      *slog.Logger
	logFile  io.Closer // nil: warnings and errors go to stderr as plain lines
	exitCode int
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "debug", Usage: "log each step"},
		&cli.StringFlag{Name: "log", Usage: "append log records to `FILE` (also file:FILE), or send them to the journal: journald:[IDENTIFIER] (default: warnings and errors on stderr)"},
		&cli.StringFlag{Name: "log-level", Usage: "log what is as grave as `LEVEL` or more: debug, info, warning or error (default: warning; info with --log)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "form of log records: text or json"},
		&cli.StringFlag{Name: "root", Value: defaultRoot(), Usage: "keep container state in `DIR`, which should be on a tmpfs"},
		&cli.StringFlag{Name: "data-root", Usage: "keep images and bundles' files in `DIR` (default: /var/lib/sandboxrun; for other users $XDG_DATA_HOME/sandboxrun)"},
		&cli.StringFlag{Name: "cgroup-manager", Usage: "who makes cgroups: cgroupfs, systemd as by --systemd-cgroup, or disabled for containers without one"},
		&cli.BoolFlag{Name: "systemd-cgroup", Usage: "let systemd make cgroups; cgroupsPath is then \"slice:prefix:name\""},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "ignore cgroup permission errors: true, false or auto"},
	}
}

// defaultRoot is $XDG_RUNTIME_DIR/sandboxrun for an ordinary user and for the
// root of a user namespace, as with runc.
func defaultRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir != "" && (os.Geteuid() != 0 || userns.RunningInUserNS() && os.Getenv("USER") != "root") {
		return filepath.Join(dir, "sandboxrun")
	}
	return runtime.DefaultRoot
}

// setUp turns the global flags into a logger and a runtime.
func (inv *invocation) setUp(c *cli.Context) error {
	if err := inv.openLog(c); err != nil {
		return err
	}
	runtime.BridgeLogs(inv.log)

	rootless, err := parseRootless(c.String("rootless"))
	if err != nil {
		return err
	}
	systemd, none, err := parseManager(c.String("cgroup-manager"), c.Bool("systemd-cgroup"))
	if err != nil {
		return err
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return fmt.Errorf("make --root absolute: %w", err)
	}
	inv.runtime, err = runtime.New(runtime.Config{
		Root:          root,
		SystemdCgroup: systemd,
		NoCgroups:     none,
		Rootless:      rootless,
		Logger:        inv.log,
	})
	return err
}

// parseManager says whether systemd is to make cgroups, or nobody.
func parseManager(manager string, systemdFlag bool) (systemd, none bool, err error) {
	switch {
	case manager == "systemd", manager == "" && systemdFlag:
		return true, false, nil
	case (manager == "cgroupfs" || manager == "disabled") && systemdFlag:
		return false, false, usagef("--cgroup-manager %s and --systemd-cgroup contradict each other; leave one of them out", manager)
	case manager == "cgroupfs", manager == "":
		return false, false, nil
	case manager == "disabled":
		return false, true, nil
	default:
		return false, false, usagef("--cgroup-manager %q: it must be cgroupfs, systemd or disabled", manager)
	}
}

func parseRootless(value string) (runtime.Rootless, error) {
	if value == "" || strings.EqualFold(value, "auto") {
		return runtime.RootlessAuto, nil
	}
	yes, err := strconv.ParseBool(value)
	if err != nil {
		return 0, usagef("--rootless %q: it must be true, false or auto", value)
	}
	if yes {
		return runtime.RootlessYes, nil
	}
	return runtime.RootlessNo, nil
}

func (inv *invocation) openLog(c *cli.Context) (err error) {
	inv.log, inv.logFile, err = logging.Open(logging.Settings{
		Debug: c.Bool("debug"), Destination: c.String("log"), Level: c.String("log-level"), Format: c.String("log-format"),
	}, inv.streams.err)
	if setting := (*logging.SettingError)(nil); errors.As(err, &setting) {
		return usagef("%v", err)
	}
	return err
}

// fail prints err where people and programs look for it, and returns the exit
// code for it.
func (inv *invocation) fail(err error) int {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if inv.log != nil {
		inv.log.Error(text)
	}
	if inv.log == nil || inv.logFile != nil {
		fmt.Fprintln(inv.streams.err, "sandboxrun: "+text)
	}
	if inv.exitCode != 0 {
		return inv.exitCode
	}
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return runtime.ExitCode(err)
}

func (inv *invocation) close() {
	if inv.logFile != nil {
		inv.logFile.Close()
	}
}
