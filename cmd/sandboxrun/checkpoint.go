package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func (inv *invocation) checkpointCommand() *cli.Command {
	return &cli.Command{
		Name:      "checkpoint",
		Usage:     "save a running container, to be restored later",
		ArgsUsage: "ID",
		Description: `Saves the processes and the memory of a running or paused container in a
directory, and removes the container. It goes on by sandboxrun restore. The work
is CRIU's (Debian: apt-get install criu iptables), which needs root.

What is not in the directory is the root filesystem, and all that is mounted
from the host: a restore needs them as they were. The streams may be pipes,
/dev/null or a terminal inside, but no files of the host.

If CRIU fails, the container goes on; dump.log in the work directory says why.

EXAMPLES:
   sandboxrun checkpoint --image-path ./saved web
   sandboxrun restore --image-path ./saved -b ./hello web

   The same, with the container standing still for less time:
   sandboxrun checkpoint --pre-dump --image-path ./before web
   sandboxrun checkpoint --image-path ./saved --parent-path ../before web`,
		Flags: join(criuFlags(), []cli.Flag{
			&cli.StringFlag{Name: "parent-path", Usage: "the `DIR` of an earlier --pre-dump, relative to --image-path"},
			&cli.BoolFlag{Name: "leave-running", Usage: "let the container go on afterwards"},
			&cli.BoolFlag{Name: "pre-dump", Usage: "save memory only and let the container go on"},
			&cli.BoolFlag{Name: "tcp-skip-in-flight", Usage: "leave out TCP connections that are being established"},
			&cli.BoolFlag{Name: "link-remap", Usage: "give names to open files that have none any more"},
			&cli.IntFlag{Name: "status-fd", Value: -1, Usage: "write a zero byte to descriptor `N` once --lazy-pages is ready"},
			&cli.StringFlag{Name: "page-server", Usage: "send the memory to the criu page-server at `ADDRESS:PORT`"},
		}),
		Action: inv.checkpointAction,
	}
}

// criuFlags are those of checkpoint and restore.
func criuFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "image-path", Usage: "the `DIR` of the images (default: ./checkpoint)"},
		&cli.StringFlag{Name: "work-path", Usage: "the `DIR` of CRIU's log and statistics (default: --image-path)"},
		&cli.BoolFlag{Name: "tcp-established", Usage: "keep established TCP connections"},
		&cli.BoolFlag{Name: "ext-unix-sk", Usage: "allow connections by unix sockets to the outside"},
		&cli.BoolFlag{Name: "shell-job", Usage: "allow a session or terminal of the outside"},
		&cli.BoolFlag{Name: "lazy-pages", Usage: "move memory only when it is asked for (userfaultfd)"},
		&cli.BoolFlag{Name: "file-locks", Usage: "allow locks on files"},
		&cli.StringFlag{Name: "manage-cgroups-mode", Usage: "what CRIU does about cgroups: `MODE` is soft (default), full, strict or ignore"},
		&cli.StringSliceFlag{Name: "empty-ns", Usage: "leave the properties of the namespace `KIND` out; network always is"},
		&cli.BoolFlag{Name: "auto-dedup", Usage: "drop pages of parent images that newer ones replace"},
	}
}

func (inv *invocation) checkpointAction(c *cli.Context) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	opts, err := checkpointOptions(c)
	if err != nil {
		return err
	}
	container, err := inv.runtime.Load(id)
	if err != nil {
		return err
	}
	return container.Checkpoint(c.Context, opts)
}

func checkpointOptions(c *cli.Context) (runtime.CheckpointOptions, error) {
	var none runtime.CheckpointOptions
	shared, err := criuOptions(c)
	if err != nil {
		return none, err
	}
	parent := c.String("parent-path")
	if filepath.IsAbs(parent) {
		return none, commandline.Usagef("--parent-path %q: it must be relative to --image-path", parent)
	}
	server, err := parsePageServer(c.String("page-server"))
	if err != nil {
		return none, err
	}
	status := c.Int("status-fd")
	if status >= 0 && !inherited(uintptr(status)) {
		return none, fmt.Errorf("cannot write to descriptor %d: it is not open; open it or correct --status-fd", status)
	}
	return runtime.CheckpointOptions{
		CRIUOptions:     shared,
		LeaveRunning:    c.Bool("leave-running"),
		PreDump:         c.Bool("pre-dump"),
		ParentImage:     parent,
		TCPSkipInFlight: c.Bool("tcp-skip-in-flight"),
		LinkRemap:       c.Bool("link-remap"),
		PageServer:      server,
		StatusFD:        status,
	}, nil
}

// defaultImagePath is runc's.
const defaultImagePath = "checkpoint"

func criuOptions(c *cli.Context) (runtime.CRIUOptions, error) {
	opts := runtime.CRIUOptions{
		TCPEstablished:      c.Bool("tcp-established"),
		ExternalUnixSockets: c.Bool("ext-unix-sk"),
		ShellJob:            c.Bool("shell-job"),
		FileLocks:           c.Bool("file-locks"),
		LazyPages:           c.Bool("lazy-pages"),
		AutoDedup:           c.Bool("auto-dedup"),
		CgroupsMode:         c.String("manage-cgroups-mode"),
	}
	if modes := runtime.CgroupsModes(); opts.CgroupsMode != "" && !slices.Contains(modes, opts.CgroupsMode) {
		return opts, commandline.Usagef("--manage-cgroups-mode %q: it must be one of %s", opts.CgroupsMode, strings.Join(modes, ", "))
	}
	for _, kind := range c.StringSlice("empty-ns") {
		if kind != "network" {
			return opts, commandline.Usagef("--empty-ns %q: only network is supported", kind)
		}
	}
	images := c.String("image-path")
	if images == "" {
		images = defaultImagePath
	}
	var err error
	if opts.ImageDir, err = filepath.Abs(images); err != nil {
		return opts, fmt.Errorf("make --image-path absolute: %w", err)
	}
	if work := c.String("work-path"); work != "" {
		if opts.WorkDir, err = filepath.Abs(work); err != nil {
			return opts, fmt.Errorf("make --work-path absolute: %w", err)
		}
	}
	return opts, nil
}

func parsePageServer(text string) (runtime.PageServer, error) {
	if text == "" {
		return runtime.PageServer{}, nil
	}
	host, port, err := net.SplitHostPort(text)
	number, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || numberErr != nil || number == 0 {
		return runtime.PageServer{}, commandline.Usagef("--page-server %q: it must be ADDRESS:PORT", text)
	}
	return runtime.PageServer{Host: host, Port: uint16(number)}, nil
}
