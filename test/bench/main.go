package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errUsage marks errors in the command line.
var errUsage = errors.New("usage")

func main() {
	// The first signal ends the series after the current sandbox; there is
	// nothing that a second could hasten.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line of `bench run`.
type options struct {
	rounds, warmup int
	seed           uint64
	variants       []variant
	sandboxrun     string
	against        []build
	program        string // "": made by trueProgram
	format         string
	output         string // "": standard output
	require, check bool
	aim            float64
	timeout        time.Duration
	dir, stateDir  string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "run" {
		return fmt.Errorf("%w: bench run [flags]; bench run -help lists them", errUsage)
	}
	opts, err := parseOptions(args[1:], stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("cannot start sandboxes: not root; use sudo")
	}
	found, err := measureAll(ctx, opts)
	if err != nil {
		return err
	}
	if err := opts.write(found, stdout); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if opts.check && found.Verdict.Answer != yes {
		return fmt.Errorf("the aim is not reached: %s", found.Verdict)
	}
	return nil
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{variants: allVariants()}
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "n", 30, "measure `ROUNDS` rounds")
	flags.IntVar(&o.warmup, "warmup", 3, "run `ROUNDS` rounds first that do not count")
	flags.Uint64Var(&o.seed, "seed", 1, "shuffle by `N`")
	flags.Func("variants", "compare only these, of "+variantNames()+" (`LIST`)", func(list string) (err error) {
		o.variants, err = parseVariants(list)
		return err
	})
	flags.StringVar(&o.sandboxrun, "sandboxrun", "bin/sandboxrun", "the sandboxrun to judge, a `FILE`")
	flags.Func("against", "compare with another sandboxrun too; may be repeated (`NAME=FILE`)", func(s string) error {
		b, err := parseBuild(s)
		o.against = append(o.against, b)
		return err
	})
	flags.StringVar(&o.program, "program", "", "run this static `FILE` instead of the smallest program there is")
	flags.StringVar(&o.format, "format", "table", "table or json")
	flags.StringVar(&o.output, "o", "", "write to `FILE` (default: standard output)")
	flags.BoolVar(&o.require, "require", false, "a missing peer is an error")
	flags.BoolVar(&o.check, "check", false, "exit with 1 unless the aim is reached")
	flags.Float64Var(&o.aim, "aim", 0.8, "the highest `RATIO` to runc")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Second, "kill a sandbox after this `TIME`")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "keep bundles in `DIR`")
	flags.StringVar(&o.stateDir, "state-dir", defaultStateDir(), "keep the runtimes' state in `DIR`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return o, o.validate(flags.Args())
}

func (o *options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%w: %q is one argument too many", errUsage, rest[0])
	case o.rounds < 1 || o.warmup < 0:
		return fmt.Errorf("%w: -n must be at least 1 and -warmup at least 0", errUsage)
	case o.format != "table" && o.format != "json":
		return fmt.Errorf("%w: -format %q: it must be table or json", errUsage, o.format)
	case o.aim <= 0 || o.timeout <= 0:
		return fmt.Errorf("%w: -aim and -timeout must be above 0", errUsage)
	}
	return nil
}

// measureAll makes what is needed, runs the series and removes everything.
func measureAll(ctx context.Context, o *options) (_ *result, retErr error) {
	all, err := o.findContenders(ctx)
	if err != nil {
		return nil, err
	}
	bin, err := o.readPrograms()
	if err != nil {
		return nil, err
	}
	facts, err := describeMachine(o.stateDir)
	if err != nil {
		return nil, err
	}

	dirs, err := newScratch(o.dir, o.stateDir)
	if err != nil {
		return nil, err
	}
	defer func() { retErr = errors.Join(retErr, dirs.remove()) }()
	for _, v := range o.variants {
		if err := v.writeBundle(dirs.bundles, dirs.cgroup(), bin); err != nil {
			return nil, err
		}
	}
	meter, err := newMeter(dirs.state+"/stderr", o.timeout)
	if err != nil {
		return nil, err
	}
	defer meter.close()

	s := &series{meter: meter, jobs: jobs(o.variants, all), scratch: dirs}
	if slices.ContainsFunc(s.jobs, func(j job) bool { return j.contender.HidesUnified }) {
		if s.v1, err = openV1View(); err != nil {
			return nil, err
		}
		defer s.v1.close()
	}
	defer func() { retErr = errors.Join(retErr, s.release()) }()
	if err := s.hold(bin); err != nil {
		return nil, err
	}
	if err := s.run(ctx, o.warmup, o.rounds, o.seed); err != nil {
		return nil, err
	}
	facts.Load[1] = load()
	r := &result{
		Version:    1,
		Machine:    facts,
		Contenders: all,
		Rounds:     s.finished,
		Warmup:     o.warmup,
		Seed:       o.seed,
		Variants:   collect(s, o.variants, all),
	}
	r.Verdict = judge(r, o.aim)
	return r, nil
}

// findContenders refuses a missing sandboxrun always, a missing peer if told to.
func (o *options) findContenders(ctx context.Context) ([]contender, error) {
	all := contenders(o.sandboxrun, o.against)
	var packages []string
	for i := range all {
		c := &all[i]
		given := c.Path
		if err := c.find(ctx); err != nil {
			return nil, err
		}
		switch {
		case !c.missing():
		case c.Package == "":
			return nil, fmt.Errorf("cannot find %s at %q; build it with make, or name it with -sandboxrun", c.Name, given)
		default:
			packages = append(packages, c.Package)
		}
	}
	if o.require && len(packages) > 0 {
		return nil, fmt.Errorf("cannot compare with all peers: some are missing; run as root: apt-get install %s", strings.Join(packages, " "))
	}
	return all, nil
}

func (o *options) readPrograms() (programs, error) {
	idle, err := idleProgram(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	if o.program == "" {
		nothing, err := trueProgram(runtime.GOARCH)
		return programs{"true": nothing, "idle": idle}, err
	}
	data, err := os.ReadFile(o.program)
	if err != nil {
		return nil, fmt.Errorf("read -program: %w", err)
	}
	return programs{"true": data, "idle": idle}, nil
}

func (o *options) write(r *result, stdout io.Writer) (retErr error) {
	to := stdout
	if o.output != "" {
		file, err := os.OpenFile(o.output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer func() { retErr = errors.Join(retErr, file.Close()) }()
		to = file
	}
	if o.format == "json" {
		return r.writeJSON(to)
	}
	return r.writeTable(to)
}
