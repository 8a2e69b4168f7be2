package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
)

// reportVersion is that of the report's JSON form. Keys are never renamed.
const reportVersion = 1

// report is what env test --report and env up --report write: docs/report.md
// describes it.
type report struct {
	Version     int       `json:"version"`
	Environment string    `json:"environment"`
	Dir         string    `json:"dir"`
	Files       []string  `json:"files"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at"`
	// ReadySeconds is null if it never was ready.
	ReadySeconds *float64 `json:"ready_seconds"`
	// ImagesSeconds is what bringing images into the store took, before anything was
	// launched, and LaunchSeconds from there until the supervisor answered.
	ImagesSeconds float64 `json:"images_seconds"`
	LaunchSeconds float64 `json:"launch_seconds"`
	// Failure is null if every service came up and stayed.
	Failure *control.Failure `json:"failure"`
	// Command is null for env up.
	Command *commandReport `json:"command"`
	// Slow is what the start waited for, in order: the stages on the longest way from
	// the beginning to ready. Slowest is the longest of them.
	Slow    []slow `json:"slow"`
	Slowest *slow  `json:"slowest"`
	// Timeline has a line for each instance, in the order of the plan.
	Timeline []instanceReport `json:"timeline"`
	// Left is what the audit after the teardown found; empty is as it should be.
	Left []string `json:"left"`
}

// commandReport is the command of env test.
type commandReport struct {
	Args []string `json:"args"`
	// ExitCode is null if it was not run; 128+n after signal n.
	ExitCode *int    `json:"exit_code"`
	Seconds  float64 `json:"seconds"`
}

// instanceReport is one container, all starts of it. Times are seconds since
// StartedAt; null ones have not come.
type instanceReport struct {
	Service  string   `json:"service"`
	Instance string   `json:"instance"`
	Waiting  *float64 `json:"waiting_seconds"`
	Creating *float64 `json:"creating_seconds"`
	Started  *float64 `json:"started_seconds"`
	Ready    *float64 `json:"ready_seconds"`
	Ended    *float64 `json:"ended_seconds"`
	ExitCode *int     `json:"exit_code"`
	Restarts int      `json:"restarts"`
	// Reports are the exit reports of its starts, in order.
	Reports []json.RawMessage `json:"reports"`
}

// makeReport puts together what is known at the end.
func makeReport(p *plan.Plan, t *timeline, reports map[string][]json.RawMessage, ended time.Time) *report {
	r := &report{
		Version: reportVersion, Environment: p.Name, Dir: p.Dir, Files: p.Files, StartedAt: t.began, EndedAt: ended,
		Slow: t.critical(p), Left: []string{}, Timeline: []instanceReport{},
	}
	if r.Slow == nil {
		r.Slow = []slow{}
	}
	if r.Files == nil {
		r.Files = []string{}
	}
	r.Slowest = slowest(r.Slow)
	r.ReadySeconds = t.secondsTo(t.ready)
	for _, l := range t.lines {
		i := instanceReport{
			Service: l.service, Instance: l.instance, Waiting: t.secondsTo(l.waiting), Creating: t.secondsTo(l.creating),
			Started: t.secondsTo(l.started), Ready: t.secondsTo(l.ready), Ended: t.secondsTo(l.ended), ExitCode: l.exitCode,
			Restarts: l.restarts, Reports: reports[l.instance],
		}
		if i.Reports == nil {
			i.Reports = []json.RawMessage{}
		}
		r.Timeline = append(r.Timeline, i)
	}
	return r
}

func (t *timeline) secondsTo(at *time.Time) *float64 {
	if at == nil {
		return nil
	}
	s := t.since(*at).Seconds()
	return &s
}

// write writes the report whole or not at all.
func (r *report) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := atomicfile.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w; name a writable file with --report", err)
	}
	return nil
}
