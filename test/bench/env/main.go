package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 9, "how often each contender is measured")
	flag.Uint64Var(&o.seed, "seed", 1, "of the order within the rounds")
	flag.Func("many", "how many environments side by side (default 1,10,50)", func(list string) (err error) {
		o.many, err = numbers(list)
		return err
	})
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: env [-rounds N] [-seed N] [-many LIST] PROGRAM WORKLOAD")
		os.Exit(2)
	}
	if o.many == nil {
		o.many = []int{1, 10, 50}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := enterOrRun(ctx, os.Stdout, o, flag.Arg(0), flag.Arg(1))
	stop()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) && !inside() {
		os.Exit(1) // it has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "env:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds int
	seed   uint64
	many   []int
}

func numbers(list string) ([]int, error) {
	var all []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 1000 {
			return nil, fmt.Errorf("%q is no number from 1 to 1000", word)
		}
		all = append(all, n)
	}
	return all, nil
}

// enterOrRun runs env once more in namespaces of its own, or, there, measures.
func enterOrRun(ctx context.Context, out io.Writer, o options, program, workload string) error {
	if !inside() {
		return enter(ctx)
	}
	if err := settle(); err != nil {
		return err
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if workload, err = filepath.Abs(workload); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-env-")
	if err != nil {
		return err
	}
	b, err := newBench(ctx, dir, program, workload)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = b.compare(ctx, out, o)
	if err == nil {
		err = b.sideBySide(ctx, out, o.many)
	}
	return errors.Join(err, b.close())
}
