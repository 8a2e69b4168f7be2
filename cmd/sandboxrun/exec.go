package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// exitExecFailure is what runc's callers expect of an exec that failed itself.
const exitExecFailure = 255

func (inv *invocation) execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run another process in a running container",
		ArgsUsage: "ID COMMAND [ARG...]",
		Description: `The process gets user, directory, environment and capabilities of the bundle's
process, changed by the flags, or all of it from --process. The exit code is the
process's own; 255 for a failure of sandboxrun itself.

EXAMPLES:
   sandboxrun exec web ps
   sandboxrun exec -t web sh
   sandboxrun exec --user 1000:1000 --env DEBUG=1 web /bin/check`,
		Flags: join(processFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return once the process runs"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the process a terminal"},
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "read the process from the JSON `FILE`, as process in config.json"},
			&cli.StringFlag{Name: "cwd", Usage: "start in the directory `DIR` of the container"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "add `NAME=VALUE` to the environment; may be repeated"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `UID[:GID]`"},
			&cli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "add the group `GID`; may be repeated"},
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add the capability `CAP`; may be repeated"},
			&cli.StringFlag{Name: "apparmor", Usage: "the AppArmor `PROFILE`"},
			&cli.StringFlag{Name: "process-label", Usage: "the SELinux `LABEL`"},
			&cli.BoolFlag{Name: "no-new-privs", Usage: "keep the process from gaining privileges"},
			&cli.StringSliceFlag{Name: "cgroup", Usage: "run in an existing `[CONTROLLER:]GROUP` below the container's; may be repeated"},
			&cli.BoolFlag{Name: "ignore-paused", Usage: "start the process in a paused container too"},
		}),
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return commandline.Usagef("exec takes a container ID and a command; see sandboxrun exec --help")
			}
			err := inv.execAction(c)
			if err != nil && inv.exitCode == 0 {
				inv.exitCode = exitExecFailure
			}
			return err
		},
	}
}

func (inv *invocation) execAction(c *cli.Context) error {
	container, err := inv.runtime.Load(c.Args().First())
	if err != nil {
		return err
	}
	process, err := execProcess(c, container)
	if err != nil {
		return err
	}
	groups, err := parseSubCgroups(c.StringSlice("cgroup"))
	if err != nil {
		return err
	}
	common, err := inv.processOptions(c, firstExtraFD)
	if err != nil {
		return err
	}
	signals := catchSignals()
	started, err := container.Exec(runtime.ExecOptions{
		Process:        process,
		ProcessOptions: common,
		Detach:         c.Bool("detach"),
		SubCgroups:     groups,
		IgnorePaused:   c.Bool("ignore-paused"),
	})
	if err != nil || c.Bool("detach") {
		return err
	}
	status, err := started.Supervise(c.Context, signals, inv.log)
	inv.exitCode = status.Code
	return err
}

// execProcess is the process of --process, or that of the container's bundle
// with the flags over it.
func execProcess(c *cli.Context, container *runtime.Container) (*specs.Process, error) {
	if path := c.String("process"); path != "" {
		if c.NArg() > 1 {
			return nil, commandline.Usagef("exec takes no command beside --process")
		}
		return readProcess(path)
	}
	if c.NArg() < 2 {
		return nil, commandline.Usagef("exec needs a command after the container ID")
	}
	state, err := container.State()
	if err != nil {
		return nil, err
	}
	file, err := container.ConfigFile()
	if err != nil {
		return nil, err
	}
	bundle, err := bundles.LoadFile(state.Bundle, file)
	if err != nil {
		return nil, err
	}
	process := bundle.Spec.Process
	process.Args = c.Args().Tail()
	if err := applyExecFlags(c, process); err != nil {
		return nil, err
	}
	return process, bundles.ValidateProcess(process)
}

func readProcess(path string) (*specs.Process, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read --process: %w", err)
	}
	var process specs.Process
	if err := json.Unmarshal(data, &process); err != nil {
		return nil, fmt.Errorf("cannot read the process in %q: %w; it must be as process in config.json", path, err)
	}
	return &process, bundles.ValidateProcess(&process)
}

// applyExecFlags changes the bundle's process as runc does: the terminal is the
// flag's alone, variables and groups are added, a capability is added to the
// bounding, effective and permitted sets, and to the ambient set only where
// there are inheritable ones, which it requires.
func applyExecFlags(c *cli.Context, p *specs.Process) error {
	p.Terminal = c.Bool("tty")
	if cwd := c.String("cwd"); cwd != "" {
		p.Cwd = cwd
	}
	p.Env = append(p.Env, c.StringSlice("env")...)
	if profile := c.String("apparmor"); profile != "" {
		p.ApparmorProfile = profile
	}
	if label := c.String("process-label"); label != "" {
		p.SelinuxLabel = label
	}
	if c.IsSet("no-new-privs") {
		p.NoNewPrivileges = c.Bool("no-new-privs")
	}
	if caps := c.StringSlice("cap"); len(caps) > 0 {
		if p.Capabilities == nil {
			p.Capabilities = &specs.LinuxCapabilities{}
		}
		set := p.Capabilities
		set.Bounding = append(set.Bounding, caps...)
		set.Effective = append(set.Effective, caps...)
		set.Permitted = append(set.Permitted, caps...)
		if set.Inheritable != nil {
			set.Ambient = append(set.Ambient, caps...)
		}
	}
	for _, gid := range c.Int64Slice("additional-gids") {
		if gid < 0 || gid > 1<<32-1 {
			return commandline.Usagef("--additional-gids %d: it must be a group ID", gid)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
	}
	return applyUser(c.String("user"), &p.User)
}

func applyUser(value string, user *specs.User) error {
	if value == "" {
		return nil
	}
	uid, gid, hasGroup := strings.Cut(value, ":")
	number, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return commandline.Usagef("--user %q: it must be UID or UID:GID, both numbers", value)
	}
	user.UID = uint32(number)
	if !hasGroup {
		return nil
	}
	number, err = strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return commandline.Usagef("--user %q: it must be UID or UID:GID, both numbers", value)
	}
	user.GID = uint32(number)
	return nil
}

// parseSubCgroups reads --cgroup: one path on cgroup v2, or
// "controller[,controller…]:path", repeated, on v1.
func parseSubCgroups(values []string) (map[string]string, error) {
	paths := map[string]string{}
	for _, value := range values {
		controllers, path, found := strings.Cut(value, ":")
		if !found {
			controllers, path = "", value
		}
		if !found && len(values) > 1 {
			return nil, commandline.Usagef("--cgroup %q: more than one group needs a controller before each, as in cpu:%s", value, value)
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if found && controller == "" {
				return nil, commandline.Usagef("--cgroup %q: there is no controller before the colon", value)
			}
			if _, twice := paths[controller]; twice {
				return nil, commandline.Usagef("--cgroup %q: %s is named twice", value, controller)
			}
			paths[controller] = path
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}
	return paths, nil
}
