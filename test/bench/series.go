package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// job is one contender in one variant. Each round has every job once.
type job struct {
	variant   variant
	contender contender
}

// jobs returns all that can be run.
func jobs(variants []variant, all []contender) []job {
	var list []job
	for _, v := range variants {
		for _, c := range all {
			if c.takesPart(v) && !c.missing() {
				list = append(list, job{v, c})
			}
		}
	}
	return list
}

// schedule returns the order of n jobs in each round, as indexes. The same seed
// gives the same orders.
func schedule(rounds, n int, seed uint64) [][]int {
	random := rand.New(rand.NewPCG(seed, 0))
	orders := make([][]int, rounds)
	for i := range orders {
		orders[i] = random.Perm(n)
	}
	return orders
}

// series runs jobs over and over.
type series struct {
	meter   *meter
	jobs    []job
	scratch *scratch
	v1      *v1View // nil where no contender needs it
	// samples has, for each job, one sample a finished round.
	samples  [][]sample
	finished int // rounds
	runs     int // for IDs
	// held are the containers that jobs enter, by the job's index.
	held map[int]place
}

// hold starts a container for each job that enters one. release removes them,
// also where hold failed.
func (s *series) hold(bin programs) error {
	s.held = map[int]place{}
	for i, j := range s.jobs {
		if j.variant.Operation != opExec {
			continue
		}
		name := fmt.Sprintf("%s-held-%d", s.scratch.name, i)
		dir := filepath.Join(s.scratch.bundles, name)
		// Each has a cgroup of its own: they run side by side.
		if err := j.variant.writeBundle(dir, "/"+name, bin); err != nil {
			return err
		}
		p := place{id: name, bundle: j.variant.bundle(dir), state: filepath.Join(s.scratch.state, j.contender.Name)}
		s.held[i] = p
		var err error
		s.within(j.contender, func() { err = s.meter.detach(j.contender.hold(p)) })
		if err != nil {
			return fmt.Errorf("start the container that %s is to enter: %w", j.contender.Name, err)
		}
	}
	return nil
}

func (s *series) release() error {
	var errs []error
	for i, p := range s.held {
		if _, err := os.Stat(p.state); err != nil { // it did not even begin
			continue
		}
		c := s.jobs[i].contender
		s.within(c, func() {
			_, err := s.meter.measure(c.remove(p))
			errs = append(errs, err)
		})
	}
	s.held = nil
	return errors.Join(errs...)
}

// run carries out the rounds. When ctx ends, it stops after the current run and
// returns ctx's error; samples then has whole rounds only.
func (s *series) run(ctx context.Context, warmup, rounds int, seed uint64) error {
	s.samples = make([][]sample, len(s.jobs))
	for round, order := range schedule(warmup+rounds, len(s.jobs), seed) {
		results := make([]sample, len(s.jobs))
		for _, i := range order {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			var err error
			s.within(s.jobs[i].contender, func() { results[i], err = s.one(i) })
			if err != nil {
				return fmt.Errorf("run %s in variant %s: %w", s.jobs[i].contender.Name, s.jobs[i].variant.Name, err)
			}
		}
		if round < warmup {
			continue
		}
		for i, r := range results {
			s.samples[i] = append(s.samples[i], r)
		}
		s.finished++
	}
	return nil
}

// within calls f on a thread with the view of the host that c needs.
func (s *series) within(c contender, f func()) {
	if c.HidesUnified {
		s.v1.do(f)
	} else {
		f()
	}
}

// one runs a job once. What a failed runtime leaves is removed by itself.
func (s *series) one(i int) (sample, error) {
	j := s.jobs[i]
	s.runs++
	p, held := s.held[i]
	if !held {
		p = place{
			id:     fmt.Sprintf("%s-%d", s.scratch.name, s.runs),
			bundle: j.variant.bundle(s.scratch.bundles),
			state:  filepath.Join(s.scratch.state, j.contender.Name),
		}
	}
	result, err := s.meter.measure(j.contender.steps(j.variant.Operation, p)...)
	if err == nil || !j.contender.OCI || held {
		return result, err
	}
	if _, statErr := os.Stat(p.state); statErr != nil { // it did not even begin
		return result, err
	}
	_, deleteErr := s.meter.measure(j.contender.remove(p))
	return result, errors.Join(err, deleteErr)
}

// of returns the samples of a contender in a variant; none if it took no part.
func (s *series) of(contender string, v variant) []sample {
	for i, j := range s.jobs {
		if j.contender.Name == contender && j.variant == v {
			return s.samples[i]
		}
	}
	return nil
}
