package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/console"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func (inv *invocation) execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run a command in a container that runs",
		ArgsUsage: "SERVICE COMMAND [ARG...]",
		Description: `The command gets a terminal where stdin and stdout are one. The exit code is the
command's own, 128+n after signal n.

EXAMPLES:
   sandboxrun env exec db psql -U postgres
   sandboxrun env exec -T db pg_dump -U postgres >dump.sql
   sandboxrun env exec --index 2 -e DEBUG=1 web /bin/sh -c 'echo $DEBUG'`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "let it run in the background"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set a variable: `NAME[=VALUE]` (can be repeated)"},
			&cli.BoolFlag{Name: "no-tty", Aliases: []string{"T", "no-TTY"}, Usage: "use no terminal"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]`"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "run in `DIR`"},
			&cli.BoolFlag{Name: "privileged", Usage: "give it all capabilities"},
			&cli.IntFlag{Name: "index", Usage: "run it in the container with this `NUMBER`"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Hidden: true},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Hidden: true},
		}, projectFlags(true)...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, -1); err != nil {
				return err
			}
			up, err := inv.connect(c)
			if err != nil {
				return err
			}
			inv.exitCode, err = inv.exec(c.Context, up, control.ExecRequest{
				Service: c.Args().First(), Index: c.Int("index"), Command: c.Args().Slice()[1:], Environment: inv.variablesOf(c.StringSlice("env")),
				User: c.String("user"), WorkingDir: c.String("workdir"), Privileged: c.Bool("privileged"), Detach: c.Bool("detach"),
				Terminal: !c.Bool("no-tty") && !c.Bool("detach") && isTerminal(inv.streams.in) && isTerminal(inv.streams.out),
			})
			return err
		},
	}
}

// variablesOf gives NAME without a value the value of this process's variable, as
// docker does; one that is not set is left out.
func (inv *invocation) variablesOf(list []string) []string {
	var all []string
	for _, v := range list {
		if name, _, ok := strings.Cut(v, "="); ok {
			all = append(all, v)
		} else if value, set := inv.getenv(name); set {
			all = append(all, name+"="+value)
		}
	}
	return all
}

// exec runs a command with this process's streams and returns its exit code.
// Without a terminal of its own, the signals that ask this process to end kill it.
func (inv *invocation) exec(ctx context.Context, up *running, r control.ExecRequest) (int, error) {
	if r.Terminal {
		return inv.execOnTerminal(ctx, up, r)
	}
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	streams, closeAll, err := inv.files(r.Detach)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	code, err := up.client.Exec(ctx, r, streams)
	if ctx.Err() != nil {
		return commandline.ExitInterrupted, nil
	}
	if err != nil {
		return 0, up.explain(err)
	}
	return code, nil
}

// files are this process's streams as files; a detached command gets /dev/null.
func (inv *invocation) files(detached bool) (control.Streams, func(), error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return control.Streams{}, nil, err
	}
	pick := func(stream any) *os.File {
		if f, ok := stream.(*os.File); ok && !detached {
			return f
		}
		return null
	}
	return control.Streams{In: pick(inv.streams.in), Out: pick(inv.streams.out), Err: pick(inv.streams.err)}, func() { null.Close() }, nil
}

// execOnTerminal makes this terminal the command's.
func (inv *invocation) execOnTerminal(ctx context.Context, up *running, r control.ExecRequest) (int, error) {
	in, ok := inv.streams.in.(*os.File)
	if !ok {
		return 0, errors.New("cannot use a terminal: stdin is none; use -T")
	}
	own, err := console.ConsoleFromFile(in)
	if err != nil {
		return 0, fmt.Errorf("cannot use the terminal: %w; use -T", err)
	}
	if term := inv.getString("TERM"); term != "" {
		r.Environment = append([]string{"TERM=" + term}, r.Environment...)
	}
	code, err := up.client.Exec(ctx, r, control.Streams{Terminal: func(master *os.File) { inv.relay(own, master) }})
	if resetErr := own.Reset(); err == nil {
		err = resetErr
	}
	if err != nil {
		return 0, up.explain(err)
	}
	return code, nil
}

// relay copies between this terminal and the master of the command's until the
// command and all that it left have let go of theirs.
func (inv *invocation) relay(own console.Console, master *os.File) {
	defer master.Close()
	if err := own.SetRaw(); err != nil {
		inv.log.Warn("cannot make the terminal raw", "error", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	resized <- syscall.SIGWINCH
	var following sync.WaitGroup
	following.Go(func() {
		for range resized {
			if size, err := own.Size(); err == nil {
				unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width}) //nolint:errcheck // the command may have ended
			}
		}
	})
	var typing sync.WaitGroup
	quit, end, err := os.Pipe()
	if err == nil {
		typing.Go(func() { typeInto(master, int(own.Fd()), quit) })
	} else {
		inv.log.Warn("cannot pass on what is typed", "error", err)
	}
	io.Copy(inv.streams.out, master) //nolint:errcheck // EIO is how a terminal ends
	if err == nil {
		end.Close()
		typing.Wait()
		quit.Close()
	}
	signal.Stop(resized)
	close(resized)
	following.Wait()
}

// typeInto copies what is typed at a terminal until the other end of quit is closed:
// a read of a terminal that others have open cannot be ended otherwise.
func typeInto(master *os.File, terminal int, quit *os.File) {
	typed := make([]byte, 4096)
	polled := []unix.PollFd{{Fd: int32(terminal), Events: unix.POLLIN}, {Fd: int32(quit.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(polled, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil || polled[1].Revents != 0 {
			return
		}
		n, err := unix.Read(terminal, typed)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		if _, err := master.Write(typed[:n]); err != nil {
			return
		}
	}
}
