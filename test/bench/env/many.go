package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sideBySide brings environments up at once, and then one with many containers.
func (b *bench) sideBySide(ctx context.Context, out io.Writer, many []int) error {
	fmt.Fprintf(out, "\nside by side: time until ready, and the supervisors' memory (PSS)\n")
	fmt.Fprintf(out, "%-34s %9s %9s %9s %9s %16s\n", "", "min ms", "median ms", "max ms", "all ms", "KiB a service")
	for _, n := range many {
		if err := b.measureMany(ctx, out, fmt.Sprintf("%d environments of 3 services", n), n, 3); err != nil {
			return err
		}
	}
	return b.measureMany(ctx, out, "1 environment of 50 containers", 1, 50, "--scale", "web=48")
}

func (b *bench) measureMany(ctx context.Context, out io.Writer, title string, environments, services int, flags ...string) (retErr error) {
	file := filepath.Join(b.dir, "many.yaml")
	names := make([]string, environments)
	for i := range names {
		names[i] = "bench-" + strconv.Itoa(i)
	}
	defer func() {
		_, _, err := each(names, func(name string) error {
			return b.meter.run(context.WithoutCancel(ctx), nil, b.subject.env("down", "-q", "-t", "0", "-p", name, "-f", file)...)
		})
		retErr = errors.Join(retErr, err)
	}()
	times, whole, err := each(names, func(name string) error {
		return b.meter.run(ctx, nil, append(b.subject.env("up", "-d", "--wait", "-q", "-p", name, "-f", file), flags...)...)
	})
	if err != nil {
		return err
	}
	// What a start took is given back soon after it; what stays is of interest.
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	var memory int64
	for _, name := range names {
		kib, err := supervisorMemory(name)
		if err != nil {
			return err
		}
		memory += kib
	}
	fmt.Fprintf(out, "%-34s %9.1f %9.1f %9.1f %9.1f %16d\n", title, ms(slices.Min(times)), ms(median(times)), ms(slices.Max(times)), ms(whole),
		memory/int64(environments*services))
	return nil
}

// each runs f for all names at once.
func each(names []string, f func(name string) error) (times []time.Duration, whole time.Duration, err error) {
	times = make([]time.Duration, len(names))
	problems := make([]error, len(names))
	began := time.Now()
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			problems[i] = f(name)
			times[i] = time.Since(began)
		})
	}
	all.Wait()
	return times, time.Since(began), errors.Join(problems...)
}

// supervisorMemory is the PSS in KiB of the processes in an environment's cgroup
// for its supervisor.
func supervisorMemory(name string) (int64, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, path := range processes {
		groups, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(groups), "/sandboxrun-env-"+name+"/_supervisor\n") {
			continue // it has ended, or is another's
		}
		memory, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(memory)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kib
			}
		}
	}
	if sum == 0 {
		return 0, fmt.Errorf("environment %s has no supervisor in its cgroup", name)
	}
	return sum, nil
}
