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

	"github.com/sandboxrun/sandboxrun/runtime"
)

// invocation is one run of the program: its streams, what the global flags
// say, and the exit code it ends with.
type invocation struct {
	streams  stdio
	runtime  *runtime.Runtime
	log      *slog.Logger
	logFile  *os.File // nil: warnings and errors go to stderr as plain lines
	exitCode int
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "debug", Usage: "log each step"},
		&cli.StringFlag{Name: "log", Usage: "append log records to `FILE` (default: warnings and errors on stderr)"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "form of log records: text or json"},
		&cli.StringFlag{Name: "root", Value: defaultRoot(), Usage: "keep container state in `DIR`, which should be on a tmpfs"},
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
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return fmt.Errorf("make --root absolute: %w", err)
	}
	inv.runtime, err = runtime.New(runtime.Config{
		Root:          root,
		SystemdCgroup: c.Bool("systemd-cgroup"),
		Rootless:      rootless,
		Logger:        inv.log,
	})
	return err
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

func (inv *invocation) openLog(c *cli.Context) error {
	level := slog.LevelWarn
	if c.Bool("debug") {
		level = slog.LevelDebug
	}
	var to io.Writer = inv.streams.err
	if path := c.String("log"); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("cannot write the log: %w; name a writable file with --log", err)
		}
		inv.logFile, to = file, file
		level = min(level, slog.LevelInfo)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: lowerCaseLevel}
	switch format := c.String("log-format"); {
	case format == "json":
		inv.log = slog.New(slog.NewJSONHandler(to, options))
	case format != "text" && format != "":
		return usagef("--log-format %q: it must be text or json", format)
	case inv.logFile != nil || c.Bool("debug"):
		inv.log = slog.New(slog.NewTextHandler(to, options))
	default:
		inv.log = slog.New(plainHandler{to})
	}
	return nil
}

// lowerCaseLevel: containerd takes the last record whose level is "error".
func lowerCaseLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
	}
	return a
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
