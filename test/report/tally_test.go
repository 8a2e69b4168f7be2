package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTallyCounts(t *testing.T) {
	tests := []struct {
		name   string
		events []string
		want   []result
	}{
		{
			name: "a table counts its cases, not itself",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestA/one"}`,
				`{"Action":"run","Package":"p","Test":"TestA/two/half"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/two/half"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Elapsed":0.1}`,
			},
			want: []result{
				{pkg: "p", name: "TestA/one", outcome: passed},
				{pkg: "p", name: "TestA/two/half", outcome: passed},
			},
		},
		{
			name: "a failed case is one failure",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestA/one"}`,
				`{"Action":"output","Package":"p","Test":"TestA/one","Output":"    a_test.go:3: wrong\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA/one"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: []result{{pkg: "p", name: "TestA/one", outcome: failed, output: "    a_test.go:3: wrong\n"}},
		},
		{
			name: "a test that fails outside its passing cases",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestA/one"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"left behind\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: []result{
				{pkg: "p", name: "TestA", outcome: failed, output: "left behind\n"},
				{pkg: "p", name: "TestA/one", outcome: passed},
			},
		},
		{
			name: "the reason of a skip",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:12: needs cgroup v2\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: []result{{pkg: "p", name: "TestA", outcome: skipped, reason: "needs cgroup v2"}},
		},
		{
			name: "a skip without a reason",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: []result{{pkg: "p", name: "TestA", outcome: skipped, reason: "no reason given"}},
		},
		{
			name: "a test that never ended",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestA/hangs"}`,
				`{"Action":"output","Package":"p","Test":"TestA/hangs","Output":"panic: test timed out\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: []result{{pkg: "p", name: "TestA/hangs", outcome: failed, output: "panic: test timed out\nthe test never ended\n"}},
		},
		{
			name: "a stream that was cut off",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
			},
			want: []result{
				{pkg: "p", name: "TestA", outcome: passed},
				{pkg: "p", outcome: failed, output: "the package's tests never ended\n"},
			},
		},
		{
			name: "a package that fails after its tests",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Output":"found unexpected goroutines\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: []result{
				{pkg: "p", name: "TestA", outcome: passed},
				{pkg: "p", outcome: failed, output: "found unexpected goroutines\n"},
			},
		},
		{
			name: "a package that does not build",
			events: []string{
				`{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/a.go:1: undefined: x\n"}`,
				`{"ImportPath":"p [p.test]","Action":"build-fail"}`,
				`{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			},
			want: []result{{pkg: "p", outcome: failed, output: "p/a.go:1: undefined: x\n"}},
		},
		{
			name:   "a package without tests counts nothing",
			events: []string{`{"Action":"start","Package":"p"}`, `{"Action":"skip","Package":"p"}`},
		},
		{
			name: "lines that are no events",
			events: []string{
				"[    0.000000] Linux version 6.1",
				`{"level":"info","msg":"up"}`,
				"{half",
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: []result{{pkg: "p", name: "TestA", outcome: passed}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			counted := newTally()
			if err := counted.read(strings.NewReader(strings.Join(tt.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(counted.results, tt.want) {
				t.Errorf("results:\n got %+v\nwant %+v", counted.results, tt.want)
			}
		})
	}
}

func TestTotalPrintsReasonsAndClosesWithTheCounts(t *testing.T) {
	var out strings.Builder
	printTotal(&out, []phaseResults{
		{phase: "unit", results: []result{
			{pkg: "p", name: "TestA", outcome: passed},
			{pkg: "p", name: "TestV2", outcome: skipped, reason: "needs cgroup v2"},
			{pkg: "p", name: "TestKVM", outcome: skipped, reason: "needs /dev/kvm"},
		}},
		{phase: "vm", results: []result{
			{pkg: "p", name: "TestV2", outcome: passed},
			{pkg: "p", name: "TestKVM", outcome: skipped, reason: "needs /dev/kvm"},
			{pkg: "p", name: "TestB", outcome: failed},
		}},
	})
	want := `unit: 1 passed, 0 failed, 2 skipped
vm: 1 passed, 1 failed, 1 skipped
skipped in one phase and run in another: 1
skipped:
  unit: p TestKVM: needs /dev/kvm
failed:
  vm: p TestB
2 passed, 1 failed, 1 skipped
`
	if out.String() != want {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), want)
	}
}

// FuzzTally holds that no stream breaks the count: what a hostile or torn stream says is counted or passed on.
func FuzzTally(f *testing.F) {
	f.Add("{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"TestA/b\"}\n{\"Action\":\"fail\",\"Package\":\"p\"}\n")
	f.Add("{\"Action\":\"build-output\",\"ImportPath\":\"p\",\"Output\":\"x\"}\n{\"Action\":\"fail\",\"Package\":\"p\",\"FailedBuild\":\"p\"}")
	f.Add("no event\n{\"Action\":")
	f.Fuzz(func(t *testing.T, stream string) {
		counted := newTally()
		if err := counted.read(strings.NewReader(stream)); err != nil {
			t.Fatal(err)
		}
		for _, r := range counted.results {
			if r.pkg == "" {
				t.Errorf("a result without a package: %+v", r)
			}
		}
		if len(counted.packages) != 0 {
			t.Errorf("%d packages were never closed", len(counted.packages))
		}
	})
}
