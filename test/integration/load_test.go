package integration_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// scaled makes a number of repetitions smaller in the VM, which may be emulated.
func scaled(n int) int {
	if inVM() {
		return max(n/10, 10)
	}
	return n
}

// TestHundredRunsAtOnce starts all of them together under one root.
func TestHundredRunsAtOnce(t *testing.T) {
	s := newTestSandbox(t)
	bundle := filepath.Join(s.work, "b")
	if err := copyBundle("workload", bundle, "exit", "7"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var all sync.WaitGroup
	for i := range scaled(100) {
		all.Go(func() {
			command := s.command("run", bundle, fmt.Sprintf("%s-%d", s.id, i))
			var said strings.Builder
			command.Stderr = &said
			err := command.Run()
			if command.ProcessState == nil || command.ProcessState.ExitCode() != 7 || said.Len() > 0 {
				t.Errorf("run %d: %v: %s", i, err, said.String())
			}
		})
	}
	all.Wait()
	t.Logf("%d runs in %v", scaled(100), time.Since(began))
}

// TestRunsOneAfterTheOther is by the command line; testdata/load does the same in
// one process.
func TestRunsOneAfterTheOther(t *testing.T) {
	s := newTestSandbox(t)
	bundle := filepath.Join(s.work, "b")
	if err := copyBundle("workload", bundle, "true"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range scaled(300) {
		command := s.command("run", bundle, s.id)
		if text, err := command.CombinedOutput(); err != nil || len(text) > 0 {
			t.Fatalf("%v: %s", err, text)
		}
	}
	t.Logf("%d runs in %v", scaled(300), time.Since(began))
}

// TestCollectorsAndRunsAtOnce: a gc never takes what another process is just
// making, running or removing, whatever the moment.
func TestCollectorsAndRunsAtOnce(t *testing.T) {
	s := newTestSandbox(t)
	neighbours := newNeighbours(s)
	bundle := filepath.Join(s.work, "b")
	if err := copyBundle("workload", bundle, "exit", "7"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var collectors, runs sync.WaitGroup
	for range 2 {
		collectors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if said, err := s.run("gc", "--stopped"); err != nil || said != "" {
					t.Errorf("gc: %v: %s", err, said)
				}
			}
		})
	}
	for worker := range 4 {
		runs.Go(func() {
			for i := range scaled(20) {
				// Names are used again and again, so that a lock just freed is taken anew.
				command := s.command("run", bundle, fmt.Sprintf("%s-w%d", s.id, worker))
				text, err := command.CombinedOutput()
				if command.ProcessState == nil || command.ProcessState.ExitCode() != 7 || len(text) > 0 {
					t.Errorf("run %d of %d: %v: %s", i, worker, err, text)
				}
			}
		})
	}
	runs.Wait()
	close(stop)
	collectors.Wait()
	neighbours.check()
	neighbours.end()
}

// TestOneNameIsGivenOnce lets many runs want one name at once: one gets it, the
// others are told, and it is free afterwards.
func TestOneNameIsGivenOnce(t *testing.T) {
	s := newTestSandbox(t)
	bundle := filepath.Join(s.work, "b")
	if err := copyBundle("workload", bundle, "sleep", "2s"); err != nil {
		t.Fatal(err)
	}
	results := make([]error, 8)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			text, err := s.command("run", bundle, s.id).CombinedOutput()
			if err != nil {
				results[i] = errors.New(string(text))
			}
		})
	}
	all.Wait()
	winners := 0
	for _, err := range results {
		switch {
		case err == nil:
			winners++
		case !strings.Contains(err.Error(), "already exists"):
			t.Errorf("a loser was told %q", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d runs got the name", winners)
	}
}
