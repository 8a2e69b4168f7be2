package equivalence_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// testCase is one comparison.
type testCase struct {
	name string
	// edit changes the bundle's specification; nil leaves it.
	edit func(spec *specs.Spec, tr *trial)
	// script are the lines of the shell; "" runs the bundle.
	script string
	// normalise replaces more than what varies in every case.
	normalise []pattern
}

// group is a list of cases about one thing.
type group struct {
	name, about string
	cases       []testCase
}

const runBundle = `code rt run -b bundle "$ID"`

// difference is something that sandboxrun does otherwise than runc, on purpose
// or because it can't be had.
type difference struct {
	title  string
	reason string
	// cases are the full names ("group/name") that show it; a trailing * stands
	// for all that begin so.
	cases []string
	// runc and ours match the whole lines that only one of the two prints.
	runc, ours *regexp.Regexp
}

func (d *difference) concerns(name string) bool {
	return slices.ContainsFunc(d.cases, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return name == pattern || open && strings.HasPrefix(name, prefix)
	})
}

// olderThan compares versions as numbers.
func olderThan(version, other string) bool {
	a, b := strings.Split(version, "."), strings.Split(other, ".")
	for i := range min(len(a), len(b)) {
		x, _ := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x < y
		}
	}
	return false
}

// line is one that only one side printed.
type line struct {
	ours bool
	text string
}

func (l line) String() string {
	if l.ours {
		return "sandboxrun: " + l.text
	}
	return "runc:       " + l.text
}

// diff returns the lines that are not in the longest common subsequence.
func diff(runc, ours []string) []line {
	lengths := make([][]int, len(runc)+1)
	for i := range lengths {
		lengths[i] = make([]int, len(ours)+1)
	}
	for i := len(runc) - 1; i >= 0; i-- {
		for j := len(ours) - 1; j >= 0; j-- {
			if runc[i] == ours[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	var lines []line
	i, j := 0, 0
	for i < len(runc) || j < len(ours) {
		switch {
		case i < len(runc) && j < len(ours) && runc[i] == ours[j]:
			i, j = i+1, j+1
		case j == len(ours) || i < len(runc) && lengths[i+1][j] >= lengths[i][j+1]:
			lines = append(lines, line{false, runc[i]})
			i++
		default:
			lines = append(lines, line{true, ours[j]})
			j++
		}
	}
	return lines
}

// judge splits the lines that differ into those that known differences explain
// and the rest, and names the differences that were seen.
func judge(name string, lines []line, known []difference) (unexplained []line, seen []string) {
	for _, l := range lines {
		explained := false
		for i := range known {
			d := &known[i]
			expression := d.runc
			if l.ours {
				expression = d.ours
			}
			if d.concerns(name) && expression != nil && expression.MatchString(l.text) {
				explained = true
				if !slices.Contains(seen, d.title) {
					seen = append(seen, d.title)
				}
			}
		}
		if !explained {
			unexplained = append(unexplained, l)
		}
	}
	return unexplained, seen
}

func TestCases(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sandboxes need namespaces and cgroups")
	}
	requireTrueRoot(t)
	t.Logf("comparing with runc %s, %s", shared.version, shared.runc)
	// Cases mostly wait for the kernel and for programs.
	atLeastParallel(2 * runtime.NumCPU())
	known := differences()
	results := &record{seen: map[string]map[string]bool{}}
	number := 0
	t.Run("all", func(t *testing.T) {
		for _, g := range groups() {
			for _, c := range g.cases {
				number++
				number := number
				t.Run(g.name+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					compareCase(t, number, g.name+"/"+c.name, &c, known, results)
				})
			}
		}
	})
	results.checkStale(t, known)
}

// record notes which cases ran and which differences they showed. It is safe
// for concurrent use.
type record struct {
	mu   sync.Mutex
	seen map[string]map[string]bool // guarded by mu; case, title
}

func (r *record) note(name string, titles []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[name] = map[string]bool{}
	for _, title := range titles {
		r.seen[name][title] = true
	}
}

// checkStale fails for a difference that a case no longer shows.
func (r *record) checkStale(t *testing.T, known []difference) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range known {
		for name, titles := range r.seen {
			if d := &known[i]; d.concerns(name) && !titles[d.title] {
				t.Errorf("%s no longer shows the difference %q: take it from the table", name, d.title)
			}
		}
	}
}

func atLeastParallel(n int) {
	if f := flag.Lookup("test.parallel"); f != nil {
		if have, err := strconv.Atoi(f.Value.String()); err == nil && have < n {
			f.Value.Set(strconv.Itoa(n)) //nolint:errcheck // a number is what it takes
		}
	}
}

func compareCase(t *testing.T, number int, name string, c *testCase, known []difference, results *record) {
	sides := []side{{"runc", shared.runc, time.Second}, {"sandboxrun", shared.ours, 10 * time.Second}}
	output, diagnostics := make([]string, len(sides)), make([]string, len(sides))
	for i, s := range sides {
		tr := newTrial(t, s, number, c)
		script := c.script
		if script == "" {
			script = runBundle
		}
		stdout, stderr := tr.run(t, script)
		tr.end(t)
		output[i], diagnostics[i] = tr.normalise(stdout, c.normalise), stderr
	}
	if output[0] == "" {
		t.Error("the script printed nothing: there is nothing to compare")
	}
	unexplained, seen := judge(name, diff(strings.Split(output[0], "\n"), strings.Split(output[1], "\n")), known)
	results.note(name, seen)
	var text strings.Builder
	for _, l := range unexplained {
		fmt.Fprintf(&text, "\n  %s", l)
	}
	if len(unexplained) > 0 {
		t.Errorf("differs:%s", text.String())
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("runc %s printed:\n%s\nstderr of runc:\n%s\nstderr of sandboxrun:\n%s", shared.version, output[0], diagnostics[0], diagnostics[1])
	}
}

func TestJudge(t *testing.T) {
	known := []difference{
		{title: "code", cases: []string{"a/one", "b/*"}, runc: regexp.MustCompile(`^exit 1$`), ours: regexp.MustCompile(`^exit 2$`)},
		{title: "silent", cases: []string{"a/one"}, runc: regexp.MustCompile(`^text$`)},
	}
	cases := []struct {
		name, runc, ours string
		unexplained      int
		seen             string
	}{
		{"a/one", "x\nexit 1", "x\nexit 1", 0, ""},
		{"a/one", "x\nexit 1", "x\nexit 2", 0, "code"},
		{"b/any", "x\nexit 1", "x\nexit 2", 0, "code"},
		{"a/two", "x\nexit 1", "x\nexit 2", 2, ""},
		{"a/one", "x\nexit 2", "x\nexit 1", 2, ""},
		{"a/one", "x\nexit 1", "y\nexit 2", 2, "code"},
		{"a/one", "x\ntext", "x", 0, "silent"},
		{"a/one", "x", "x\ntext", 1, ""},
	}
	for _, c := range cases {
		unexplained, seen := judge(c.name, diff(strings.Split(c.runc, "\n"), strings.Split(c.ours, "\n")), known)
		if len(unexplained) != c.unexplained || strings.Join(seen, ",") != c.seen {
			t.Errorf("%s %q %q: unexplained %v, seen %q; want %d, %q", c.name, c.runc, c.ours, unexplained, seen, c.unexplained, c.seen)
		}
	}
}

func TestOlderThan(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1.1.5", "1.5.0", true}, {"1.5.0", "1.5.0", false}, {"1.10.0", "1.5.0", false}, {"1.5.2", "1.5.0", false}, {"0.9.9", "1.5.0", true}} {
		if got := olderThan(c.a, c.b); got != c.want {
			t.Errorf("olderThan(%s, %s) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
