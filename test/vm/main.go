package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// Exit codes besides the command's own.
const (
	exitUsage    = 2
	exitTimedOut = 124
	exitFailure  = 125
)

const usage = `usage: go run ./test/vm COMMAND

  run   [flags] -- COMMAND ARG...  run a command in a fresh virtual machine with cgroup v2
  test  [flags] BINARY...          run Go test binaries (go test -c) in one
  shell [flags]                    a prompt in one, on this terminal
  build [--image FLAVOUR]          make the image, if it isn't there
  which [--image FLAVOUR]          say where the image is, and whether KVM is used

go run ./test/vm COMMAND --help lists the flags.
`

// errUsage says that the command line is wrong; the reason has been printed.
var errUsage = errors.New("usage")

// interrupted is the signal that ended the harness, as a cause.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return "ended by " + unix.SignalName(i.signal) }

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		cancel(interrupted{(<-signals).(syscall.Signal)})
	}()
	endWithGo(cancel)

	code, err := dispatch(ctx, os.Args[1:])
	os.Exit(exitCode(code, err, os.Stderr))
}

// exitCode returns the code to exit with and says the error on stderr.
func exitCode(code int, err error, stderr io.Writer) int {
	var signalled interrupted
	switch {
	case err == nil:
		return code
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	}
	fmt.Fprintf(stderr, "vm: %v\n", err)
	if errors.As(err, &signalled) {
		return 128 + int(signalled.signal)
	}
	if errors.Is(err, errTimedOut) || errors.Is(err, errDeadline) {
		return exitTimedOut
	}
	return exitFailure
}

// endWithGo ends the harness when a `go run` that started it is gone: SIGTERM
// and SIGKILL reach only the go command, which passes neither on.
func endWithGo(cancel context.CancelCauseFunc) {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return
	}
	go func() {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		cancel(interrupted{syscall.SIGTERM})
	}()
}

func dispatch(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 0, errUsage
	}
	commands := map[string]func(context.Context, []string) (int, error){
		"run":   runCommand,
		"test":  testCommand,
		"shell": shellCommand,
		"build": buildCommand,
		"which": whichCommand,
	}
	if chosen, ok := commands[args[0]]; ok {
		return chosen(ctx, args[1:])
	}
	switch args[0] {
	case "-h", "--help", "help":
		fmt.Print(usage)
		return 0, nil
	}
	fmt.Fprintf(os.Stderr, "vm: unknown command %q\n%s", args[0], usage)
	return 0, errUsage
}

// options are the flags that commands share.
type options struct {
	dir, out    string
	image       string
	timeout     time.Duration
	memory      string
	accelerator string
	env         settings
	verbose     bool
}

// settings is a flag that may be given several times.
type settings []string

func (s *settings) String() string { return strings.Join(*s, " ") }

func (s *settings) Set(value string) error {
	if !strings.Contains(value, "=") || strings.HasPrefix(value, "=") {
		return errors.New("not of the form NAME=VALUE")
	}
	*s = append(*s, value)
	return nil
}

// flagSet returns a flag set with the shared flags.
func (o *options) flagSet(name string, timeout time.Duration) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "host `directory` whose copy appears at /work/host")
	flags.StringVar(&o.out, "out", "", "host `directory` that gets what is left in /out")
	flags.DurationVar(&o.timeout, "timeout", timeout, "deadline of everything after the image is built; 0 for none")
	imageFlag(flags, &o.image)
	flags.StringVar(&o.memory, "memory", "", "the machine's memory (`size`); 2G, with the image engines 3G, if it isn't given")
	flags.StringVar(&o.accelerator, "accel", "auto", "`kvm`, tcg or auto: KVM if a guest boots with it")
	flags.BoolVar(&o.verbose, "verbose", false, "show the guest's console on stderr")
	flags.Var(&o.env, "env", "`NAME=VALUE` in the command's environment; may be repeated")
	return flags
}

// imageFlag adds the flag that chooses an image's flavour.
func imageFlag(flags *flag.FlagSet, name *string) {
	flags.StringVar(name, "image", "base", "`flavour` of the image: base, engines or systemd")
}

// parse parses args; the reason for errUsage has been printed.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}

// session is what a command works with: the cache, the image in it and the
// request as far as the flags tell.
type session struct {
	cache cache
	image image
	request
}

// open builds the image if need be and fills in a request.
func (o *options) open(ctx context.Context) (*session, error) {
	f, err := findFlavour(o.image)
	if err != nil {
		return nil, err
	}
	memory, err := units.RAMInBytes(cmp.Or(o.memory, f.memory))
	if err != nil || memory < 256<<20 {
		return nil, fmt.Errorf("cannot use --memory %q: not a size of 256M or more", o.memory)
	}
	if o.dir != "" {
		if info, err := os.Stat(o.dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("cannot use --dir %q: not a directory", o.dir)
		}
	}
	c, err := openCache()
	if err != nil {
		return nil, err
	}
	img, err := c.ensureImage(ctx, f, os.Stderr)
	if err != nil {
		return nil, err
	}
	var boots []accelerator
	switch o.accelerator {
	case "auto":
		found, err := c.accelerator(ctx, img, os.Stderr)
		if err != nil {
			return nil, err
		}
		boots = found.boots()
	case "kvm":
		boots = []accelerator{accelKVM, accelKVM}
	case "tcg":
		boots = []accelerator{accelTCG, accelTCG, accelTCG}
	default:
		return nil, fmt.Errorf("cannot use --accel %q: not kvm, tcg or auto", o.accelerator)
	}
	s := &session{cache: c, image: img, request: request{
		hostDir: o.dir, out: o.out, memory: memory,
		command: command{dir: "/root", env: o.env},
		stdout:  os.Stdout, stderr: os.Stderr, progress: os.Stderr, verbose: io.Discard,
		boots: boots, silence: bootSilence,
	}}
	if o.dir != "" {
		s.command.dir = "/work/host"
	}
	if o.verbose {
		s.request.verbose = os.Stderr
	}
	if o.timeout > 0 {
		s.deadline = time.Now().Add(o.timeout)
	}
	return s, nil
}

// errTimedOut says that the command was ended at the deadline.
var errTimedOut = errors.New("the command was ended because the deadline (--timeout) was near")

// run runs the session's request.
func (s *session) run(ctx context.Context) (int, error) {
	res, err := run(ctx, s.cache, s.image, s.request)
	if err == nil && res.timedOut {
		err = errTimedOut
	}
	return res.exitCode, err
}

func runCommand(ctx context.Context, args []string) (int, error) {
	var o options
	flags := o.flagSet("run", 10*time.Minute)
	if err := parse(flags, args); err != nil {
		return 0, err
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "vm: run needs a command: go run ./test/vm run [flags] -- COMMAND ARG...")
		return 0, errUsage
	}
	s, err := o.open(ctx)
	if err != nil {
		return 0, err
	}
	s.command.args = flags.Args()
	return s.run(ctx)
}

func shellCommand(ctx context.Context, args []string) (int, error) {
	var o options
	flags := o.flagSet("shell", 0)
	if err := parse(flags, args); err != nil {
		return 0, err
	}
	s, err := o.open(ctx)
	if err != nil {
		return 0, err
	}
	restore := keepTerminal()
	defer restore()
	s.interactive = true
	s.command.env = append(terminalSettings(), s.command.env...)
	s.command.args = []string{"sh", "-c", `stty rows "$LINES" cols "$COLUMNS" 2>/dev/null; exec bash -l`}
	return s.run(ctx)
}

// keepTerminal returns what restores the terminal at stdin, which a killed
// QEMU leaves in raw mode.
func keepTerminal() func() {
	fd := int(os.Stdin.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	// The terminal may be gone by then.
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, mode) }
}

// terminalSettings returns what a serial line cannot tell the guest.
func terminalSettings() []string {
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 || size.Col == 0 {
		size = &unix.Winsize{Row: 24, Col: 80}
	}
	term := os.Getenv("TERM")
	if term == "" {
		term = "vt220"
	}
	return []string{"TERM=" + term, fmt.Sprintf("LINES=%d", size.Row), fmt.Sprintf("COLUMNS=%d", size.Col)}
}

// parseImage parses the flags of a command that has none but --image and
// returns the cache and the flavour asked for.
func parseImage(name string, args []string) (cache, flavour, error) {
	var chosen string
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	imageFlag(flags, &chosen)
	if err := parse(flags, args); err != nil {
		return cache{}, flavour{}, err
	}
	f, err := findFlavour(chosen)
	if err != nil {
		return cache{}, flavour{}, err
	}
	c, err := openCache()
	return c, f, err
}

func buildCommand(ctx context.Context, args []string) (int, error) {
	c, f, err := parseImage("build", args)
	if err != nil {
		return 0, err
	}
	img, err := c.ensureImage(ctx, f, os.Stderr)
	if err != nil {
		return 0, err
	}
	fmt.Println(img.dir)
	return 0, nil
}

func whichCommand(ctx context.Context, args []string) (int, error) {
	c, f, err := parseImage("which", args)
	if err != nil {
		return 0, err
	}
	img, built := c.image(f)
	if !built {
		return 1, fmt.Errorf("no image yet: %s would be built; run `go run ./test/vm build --image %s`", img.dir, f.name)
	}
	found, err := c.accelerator(ctx, img, os.Stderr)
	if err != nil {
		return 0, err
	}
	fmt.Printf("image %s\naccelerator %s (%s)\n", filepath.Clean(img.dir), found.Accelerator, found.Reason)
	return 0, nil
}
