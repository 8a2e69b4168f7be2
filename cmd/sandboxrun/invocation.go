package main

import (
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
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
	return append(logging.Flags(),
		commandline.RootFlag("container state"),
		commandline.DataRootFlag(),
		&cli.StringFlag{Name: "cgroup-manager", Usage: "who makes cgroups: cgroupfs, systemd as by --systemd-cgroup, or disabled for containers without one"},
		&cli.BoolFlag{Name: "systemd-cgroup", Usage: "let systemd make cgroups; cgroupsPath is then \"slice:prefix:name\""},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "ignore cgroup permission errors: true, false or auto"},
	)
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
	root, err := commandline.Root(c)
	if err != nil {
		return err
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
		return false, false, commandline.Usagef("--cgroup-manager %s and --systemd-cgroup contradict each other; leave one of them out", manager)
	case manager == "cgroupfs", manager == "":
		return false, false, nil
	case manager == "disabled":
		return false, true, nil
	default:
		return false, false, commandline.Usagef("--cgroup-manager %q: it must be cgroupfs, systemd or disabled", manager)
	}
}

func parseRootless(value string) (runtime.Rootless, error) {
	if value == "" || strings.EqualFold(value, "auto") {
		return runtime.RootlessAuto, nil
	}
	yes, err := strconv.ParseBool(value)
	if err != nil {
		return 0, commandline.Usagef("--rootless %q: it must be true, false or auto", value)
	}
	if yes {
		return runtime.RootlessYes, nil
	}
	return runtime.RootlessNo, nil
}

func (inv *invocation) openLog(c *cli.Context) (err error) {
	inv.log, inv.logFile, err = logging.Open(logging.SettingsOf(c), inv.streams.err)
	if setting := (*logging.SettingError)(nil); errors.As(err, &setting) {
		return commandline.Usagef("%v", err)
	}
	return err
}

// fail prints err and returns the exit code for it.
func (inv *invocation) fail(err error) int {
	commandline.PrintError(err, inv.log, inv.logFile == nil, inv.streams.err)
	if inv.exitCode != 0 {
		return inv.exitCode
	}
	if errors.Is(err, commandline.ErrUsage) {
		return commandline.ExitUsage
	}
	return runtime.ExitCode(err)
}

func (inv *invocation) close() {
	if inv.logFile != nil {
		inv.logFile.Close()
	}
}
