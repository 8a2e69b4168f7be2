package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bench is a scratch directory with everything that is measured.
type bench struct {
	dir        string
	meter      *meter
	subject    *sandboxrun
	podman     *podmanCompose // nil if it is not installed
	bare       *bare
	contenders []contender
}

func newBench(ctx context.Context, dir, program, workload string) (_ *bench, err error) {
	b := &bench{dir: dir}
	if b.meter, err = newMeter(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.meter.close())
		}
	}()
	podmanDir, archive := filepath.Join(dir, "podman"), filepath.Join(dir, "image.tar")
	if err := os.Mkdir(podmanDir, 0o700); err != nil {
		return nil, err
	}
	rootfs := filepath.Dir(filepath.Dir(workload))
	source := "rootfs: " + rootfs
	if podmanIsInstalled() {
		if b.podman, err = newPodmanCompose(ctx, b.meter, podmanDir, rootfs, archive); err != nil {
			return nil, err
		}
		source = "base: docker-archive:" + archive
	}
	sandbox := func(ready string) string { return "x-sandbox: {" + source + ", ready: {" + ready + "}}" }
	for file, port := range map[string]string{"one.yaml": "127.0.0.1:" + publishedPort + ":8080", "many.yaml": "8080"} {
		content := composeFile(sandbox("http: 8080"), sandbox("http: 8080"), sandbox("listen: 5432"), port)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	b.subject = &sandboxrun{meter: b.meter, program: program, dir: dir}
	b.bare = &bare{meter: b.meter, workload: workload}
	b.contenders = []contender{b.subject, b.bare}
	if b.podman != nil {
		b.contenders = append(b.contenders, b.podman)
	}
	return b, nil
}

// close removes everything; it is called whatever became of the measurement.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var problems []error
	problems = append(problems, b.bare.down(ctx), b.meter.run(ctx, nil, b.subject.env("gc")...))
	if b.podman != nil {
		problems = append(problems, b.podman.remove(ctx))
	}
	return errors.Join(append(problems, b.meter.close(), os.RemoveAll(b.dir))...)
}

// sample is one round of one contender.
type sample struct{ up, down cost }

// compare measures the contenders in turns, after one round that does not count.
func (b *bench) compare(ctx context.Context, out io.Writer, o options) error {
	order := slices.Clone(b.contenders)
	random := rand.New(rand.NewPCG(o.seed, 0))
	samples := map[contender][]sample{}
	for round := range o.rounds + 1 {
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, c := range order {
			var s sample
			var err error
			if s.up, err = b.meter.measure(func() error { return c.up(ctx) }); err != nil {
				return fmt.Errorf("%s up: %w", c.name(), errors.Join(err, c.down(context.WithoutCancel(ctx))))
			}
			if s.down, err = b.meter.measure(func() error { return c.down(context.WithoutCancel(ctx)) }); err != nil {
				return fmt.Errorf("%s down: %w", c.name(), err)
			}
			if round > 0 {
				samples[c] = append(samples[c], s)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	b.print(out, o.rounds, samples)
	return nil
}

func (b *bench) print(out io.Writer, rounds int, samples map[contender][]sample) {
	fmt.Fprintf(out, "three services, each after the one before, in ms: minimum and median of %d rounds\n", rounds)
	fmt.Fprintf(out, "%-16s %17s %17s %17s %17s\n", "", "up to ready, wall", "up, CPU", "down, wall", "down, CPU")
	for _, c := range b.contenders {
		fmt.Fprintf(out, "%-16s %17s %17s %17s %17s\n", c.name(),
			spread(samples[c], func(s sample) time.Duration { return s.up.wall }), spread(samples[c], func(s sample) time.Duration { return s.up.cpu }),
			spread(samples[c], func(s sample) time.Duration { return s.down.wall }), spread(samples[c], func(s sample) time.Duration { return s.down.cpu }))
	}
	wall := func(s sample) time.Duration { return s.up.wall + s.down.wall }
	cpu := func(s sample) time.Duration { return s.up.cpu + s.down.cpu }
	if b.podman == nil {
		fmt.Fprintln(out, "podman-compose is not measured: it is not installed (apt-get install podman podman-compose netavark aardvark-dns)")
	} else {
		fmt.Fprintf(out, "up and down, ratio to podman-compose: wall %s, CPU %s\n",
			ratio(samples[b.subject], samples[b.podman], wall), ratio(samples[b.subject], samples[b.podman], cpu))
	}
	if over := difference(samples[b.subject], samples[b.bare], cpu); over != unknown {
		fmt.Fprintf(out, "CPU over unshare, up and down, for each service: %.1f ms\n", ms(over)/3)
	}
}
