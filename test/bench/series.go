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
			s.within(s.jobs[i].contender, func() { results[i], err = s.one(s.jobs[i]) })
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
func (s *series) one(j job) (sample, error) {
	s.runs++
	p := place{
		id:     fmt.Sprintf("%s-%d", s.scratch.name, s.runs),
		bundle: j.variant.bundle(s.scratch.bundles),
		state:  filepath.Join(s.scratch.state, j.contender.Name),
	}
	result, err := s.meter.measure(j.contender.command(j.contender.Path, p))
	if err == nil || !j.contender.OCI {
		return result, err
	}
	if _, statErr := os.Stat(p.state); statErr != nil { // it did not even begin
		return result, err
	}
	_, deleteErr := s.meter.measure([]string{j.contender.Path, "--root", p.state, "delete", "--force", p.id})
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
