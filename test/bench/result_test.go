package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/internal/golden"
)

// example is a small result: three contenders, one of them missing.
func example() *result {
	all := []contender{
		{Name: subject, Path: "/bin/sandboxrun", Version: "sandboxrun version 1", OCI: true},
		{Name: reference, Path: "/bin/runc", Version: "runc version 2", OCI: true, Package: "runc"},
		{Name: "crun", OCI: true, Package: "crun"},
		{Name: "fork+exec"},
	}
	const ms = time.Millisecond
	s := &series{jobs: jobs(allVariants()[:2], all)}
	for range s.jobs {
		s.samples = append(s.samples, nil)
	}
	costs := map[string]time.Duration{subject: 15 * ms, reference: 20 * ms, "fork+exec": 300 * time.Microsecond}
	for i, j := range s.jobs {
		cost := costs[j.contender.Name]
		if j.variant.Seccomp {
			cost *= 2
		}
		s.samples[i] = []sample{{CPU: cost, Wall: 2 * cost}, {CPU: 3 * cost, Wall: 4 * cost}}
	}
	r := &result{
		Version:    1,
		Machine:    machine{Kernel: "6.1.0", Arch: "amd64", CPUs: 2, CPU: "Some CPU", Cgroup: "v2", StateOnTmpfs: true, Load: [2]string{"0.10", "0.90"}},
		Contenders: all,
		Rounds:     2,
		Warmup:     1,
		Seed:       1,
		Variants:   collect(s, allVariants()[:2], all),
	}
	r.Verdict = judge(r, 0.8)
	return r
}

func TestWriteTable(t *testing.T) {
	var got bytes.Buffer
	if err := example().writeTable(&got); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/table.txt", got.Bytes())
}

func TestWriteJSON(t *testing.T) {
	var text bytes.Buffer
	if err := example().writeJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got result
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	row := got.find("seccomp", subject)
	if row == nil || row.CPU.Min != 30*time.Millisecond || row.Ratio == nil || row.Ratio.CPU != 0.75 || len(row.Samples) != 2 {
		t.Errorf("the row of sandboxrun with seccomp is %+v in\n%s", row, text.String())
	}
	for _, key := range []string{`"cpu_ns"`, `"min_ns"`, `"verdict"`, `"kernel"`, `"answer": "yes"`} {
		if !strings.Contains(text.String(), key) {
			t.Errorf("there is no %s in\n%s", key, text.String())
		}
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		aim    float64
		change func(*result)
		want   answer
	}{
		{"below", 0.8, func(*result) {}, yes},
		{"exactly", 0.75, func(*result) {}, yes},
		{"above", 0.7, func(*result) {}, no},
		{"CPU above in one variant", 0.8, func(r *result) { r.find("seccomp", subject).Ratio.CPU = 0.81 }, no},
		{"wall above in one variant", 0.8, func(r *result) { r.find("plain", subject).Ratio.Wall = 0.81 }, no},
		{"no reference", 0.8, func(r *result) { r.find("plain", subject).Ratio = nil }, unknown},
		{"a variant left out", 0.8, func(r *result) { r.Variants = r.Variants[:1] }, unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := example()
			test.change(r)
			if got := judge(r, test.aim); got.Answer != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
