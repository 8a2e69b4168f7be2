// Bundle compares the making of bundles with skopeo and umoci, which do the same
// from the same image layout:
//
//	bundle -tree DIR [-runs N] PROGRAM
//
// PROGRAM is sandboxrun, with its companion beside it; DIR is a root filesystem of
// some 100 MB, of which umoci makes an image of one layer. Three things are
// measured, each from start to end of the commands, medians of N runs taken in
// turns: a bundle from an empty store, one more bundle of an image that is in the
// store, and the peak of memory of one process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

func main() {
	tree := flag.String("tree", ".cache/services/redis", "the root filesystem that the image is made of")
	runs := flag.Int("runs", 5, "how often each is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, flag.Arg(0), *tree, *runs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

// bench is a scratch directory with an image layout.
type bench struct {
	dir, program string
	number       int
}

func run(ctx context.Context, out io.Writer, program, tree string, runs int) (retErr error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-bundle-")
	if err != nil {
		return err
	}
	b := &bench{dir: dir, program: program}
	defer func() { retErr = errors.Join(retErr, b.removeBundles(), os.RemoveAll(dir)) }()
	if err := b.makeImage(ctx, tree); err != nil {
		return err
	}
	var cold, coldPeer, warm, warmPeer []cost
	for range runs {
		for _, step := range []struct {
			list *[]cost
			make func(context.Context) (cost, error)
		}{{&cold, b.cold}, {&coldPeer, b.peer}, {&warm, b.warm}, {&warmPeer, b.peerWarm}} {
			c, err := step.make(ctx)
			if err != nil {
				return err
			}
			*step.list = append(*step.list, c)
		}
	}
	fmt.Fprintf(out, "%-36s %12s %12s %8s\n", "", "sandboxrun", "skopeo+umoci", "ratio")
	printRows(out, "bundle from an empty store", median(cold), median(coldPeer))
	printRows(out, "second bundle of the image", median(warm), median(warmPeer))
	return nil
}

func printRows(out io.Writer, what string, ours, theirs cost) {
	row := func(name, unit string, a, b float64) {
		fmt.Fprintf(out, "%-36s %9.1f %-2s %9.1f %-2s %8.2f\n", what+", "+name, a, unit, b, unit, a/b)
	}
	row("wall", "ms", ms(ours.wall), ms(theirs.wall))
	row("CPU", "ms", ms(ours.cpu), ms(theirs.cpu))
	row("peak", "MB", float64(ours.peak)/1e6, float64(theirs.peak)/1e6)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cost is what commands took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // bytes of the largest process
}

func median(all []cost) cost {
	pick := func(value func(cost) int64) int64 {
		values := make([]int64, len(all))
		for i, c := range all {
			values[i] = value(c)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return cost{
		wall: time.Duration(pick(func(c cost) int64 { return int64(c.wall) })),
		cpu:  time.Duration(pick(func(c cost) int64 { return int64(c.cpu) })),
		peak: pick(func(c cost) int64 { return c.peak }),
	}
}

// do runs commands one after the other and adds up what they cost.
func do(ctx context.Context, commands ...[]string) (cost, error) {
	var sum cost
	for _, args := range commands {
		command := exec.CommandContext(ctx, args[0], args[1:]...)
		began := time.Now()
		text, err := command.CombinedOutput()
		if err != nil {
			return sum, fmt.Errorf("%q: %w: %s", args, err, text)
		}
		sum.wall += time.Since(began)
		sum.cpu += command.ProcessState.UserTime() + command.ProcessState.SystemTime()
		if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
			sum.peak = max(sum.peak, usage.Maxrss<<10)
		}
	}
	return sum, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) next(name string) string {
	b.number++
	return b.path(name + strconv.Itoa(b.number))
}

func (b *bench) makeImage(ctx context.Context, tree string) error {
	image := b.path("layout") + ":one"
	_, err := do(ctx,
		[]string{"umoci", "init", "--layout", b.path("layout")},
		[]string{"umoci", "new", "--image", image},
		[]string{"umoci", "insert", "--image", image, tree, "/"},
		[]string{"umoci", "config", "--image", image, "--config.cmd", "/bin/sh"},
	)
	return err
}

func (b *bench) build(data, bundle string) []string {
	return []string{
		b.program, "--root", b.path("state"), "--data-root", data, "bundle", "build", "--quiet", "oci:" + b.path("layout") + ":one", "-o", bundle,
	}
}

func (b *bench) cold(ctx context.Context) (cost, error) {
	return do(ctx, b.build(b.next("data"), b.next("bundle")))
}

func (b *bench) warm(ctx context.Context) (cost, error) {
	return do(ctx, b.build(b.path("data"+strconv.Itoa(1)), b.next("bundle")))
}

// peer copies the image into a store of its own and unpacks it.
func (b *bench) peer(ctx context.Context) (cost, error) {
	copied := b.path("copied")
	if err := os.RemoveAll(copied); err != nil {
		return cost{}, err
	}
	return do(ctx,
		[]string{"skopeo", "--insecure-policy", "copy", "oci:" + b.path("layout") + ":one", "oci:" + copied + ":one"},
		[]string{"umoci", "unpack", "--image", copied + ":one", b.next("peer")},
	)
}

func (b *bench) peerWarm(ctx context.Context) (cost, error) {
	return do(ctx, []string{"umoci", "unpack", "--image", b.path("copied") + ":one", b.next("peer")})
}

// removeBundles unmounts what was made, whatever became of the measurement.
func (b *bench) removeBundles() error {
	bundles, err := filepath.Glob(b.path("bundle*"))
	if err != nil {
		return err
	}
	var problems []error
	for _, bundle := range bundles {
		data := b.path("data1")
		// Each bundle's record names its own data root; --data-root must be that.
		if text, err := os.ReadFile(filepath.Join(bundle, "bundle.json")); err == nil {
			data = dataRoot(text, data)
		}
		_, err := do(context.Background(), []string{b.program, "--root", b.path("state"), "--data-root", data, "bundle", "remove", bundle})
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// dataRoot reads the store's directory from a bundle's record.
func dataRoot(record []byte, otherwise string) string {
	var r struct {
		DataRoot string `json:"dataRoot"`
	}
	if err := json.Unmarshal(record, &r); err != nil || r.DataRoot == "" {
		return otherwise
	}
	return r.DataRoot
}
