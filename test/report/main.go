package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// resultsDir holds one file of events a phase, below the working directory.
const resultsDir = "bin/test-results"

const usage = "usage: report run NAME -- COMMAND [ARG...] | report total NAME [NAME...]"

// errFailed says that something was counted as failed. What it was has been printed already.
var errFailed = errors.New("tests failed")

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	os.Exit(1)
}

func run(args []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) >= 4 && args[0] == "run" && args[2] == "--":
		return runPhase(args[1], args[3:], stdout, stderr)
	case len(args) >= 2 && args[0] == "total":
		return total(args[1:], stdout)
	default:
		return errors.New(usage)
	}
}

// runPhase runs command, keeps its events as the phase's and prints what they say while they come.
func runPhase(phase string, command []string, stdout, stderr io.Writer) error {
	if err := os.MkdirAll(resultsDir, 0o755); err != nil {
		return fmt.Errorf("make the results directory: %w", err)
	}
	// Not buffered: what a phase said before it was killed is kept.
	events, err := os.OpenFile(eventsPath(phase), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("create the phase's file: %w", err)
	}
	defer events.Close()

	// ^C reaches the command too; report waits for what it still has to say.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)

	started := time.Now()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make the command's pipe: %w", err)
	}
	counted := newTally()
	counted.onPackage = func(p *pkg, results []result) { printPackage(stdout, p, results) }
	counted.onText = func(line string) { fmt.Fprint(stderr, line) }
	commandErr := cmd.Start()
	if commandErr == nil {
		readErr := counted.read(io.TeeReader(pipe, events))
		commandErr = errors.Join(cmd.Wait(), readErr)
	}

	if problem := phaseProblem(counted.results, commandErr); problem != "" {
		if err := addFailure(events, counted, phase, fmt.Sprintf("%s: %s\n", strings.Join(command, " "), problem)); err != nil {
			return fmt.Errorf("write events: %w", err)
		}
	}
	c := count(counted.results)
	fmt.Fprintf(stdout, "%s: %s in %s\n", phase, c, time.Since(started).Round(100*time.Millisecond))
	if c.failed > 0 {
		return errFailed
	}
	return nil
}

// phaseProblem says what is wrong with a phase beyond its tests, or nothing.
func phaseProblem(results []result, commandErr error) string {
	c := count(results)
	switch {
	case c.failed > 0:
		return ""
	case commandErr != nil:
		return commandErr.Error()
	case c.passed+c.skipped == 0:
		return "no test ran"
	default:
		return ""
	}
}

// addFailure counts a failure that belongs to no package and keeps it with the phase's events.
func addFailure(events io.Writer, counted *tally, phase, text string) error {
	name := "phase " + phase
	for _, e := range []event{{Action: "output", Package: name, Output: text}, {Action: "fail", Package: name}} {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(events, "%s\n", line); err != nil {
			return err
		}
		counted.add(e)
	}
	return nil
}

func eventsPath(phase string) string {
	return filepath.Join(resultsDir, phase+".jsonl")
}

// total adds up the named phases.
func total(phases []string, stdout io.Writer) error {
	var all []phaseResults
	for _, phase := range phases {
		counted := newTally()
		if err := readPhase(counted, phase); err != nil {
			counted.results = append(counted.results, result{pkg: "phase " + phase, outcome: failed, output: err.Error() + "\n"})
		}
		all = append(all, phaseResults{phase: phase, results: counted.results})
	}
	if printTotal(stdout, all).failed > 0 {
		return errFailed
	}
	return nil
}

func readPhase(counted *tally, phase string) error {
	file, err := os.Open(eventsPath(phase))
	if err != nil {
		return fmt.Errorf("open the phase's events: %w", err)
	}
	defer file.Close()
	return counted.read(file)
}
