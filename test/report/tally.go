package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json` and, for the build events, `go help buildjson`.
type event struct {
	Action      string
	Package     string  `json:",omitempty"`
	Test        string  `json:",omitempty"`
	Elapsed     float64 `json:",omitempty"` // seconds
	Output      string  `json:",omitempty"`
	ImportPath  string  `json:",omitempty"` // of build-output and build-fail
	FailedBuild string  `json:",omitempty"` // the ImportPath whose build made this package fail
}

// outcome is how a test or a package ended.
type outcome string

const (
	unfinished outcome = ""
	passed     outcome = "pass"
	failed     outcome = "fail"
	skipped    outcome = "skip"
)

// test is one test or subtest of a package.
type test struct {
	pkg, name string
	outcome   outcome
	parent    *test // nil for a top-level test
	children  int
	// failedBelow is set where a descendant failed: then this test's own failure says nothing new.
	failedBelow bool
	output      strings.Builder
}

// pkg is what is known of a package while its events arrive.
type pkg struct {
	path    string
	outcome outcome
	elapsed float64
	output  strings.Builder // what belongs to no test
	tests   []*test         // in the order in which they started
	byName  map[string]*test
}

// result is one counted test, or one counted failure that no test owns (then name is empty).
type result struct {
	pkg, name string
	outcome   outcome
	// output is what a failed test printed.
	output string
	// reason says why a test was skipped.
	reason string
}

func (r result) String() string {
	if r.name == "" {
		return r.pkg
	}
	return r.pkg + " " + r.name
}

// tally counts one stream of events. It isn't safe for use by several goroutines.
type tally struct {
	packages map[string]*pkg
	builds   map[string]*strings.Builder // the compiler's output by import path
	results  []result
	// onPackage, if set, is called when a package has ended, with its results.
	onPackage func(p *pkg, results []result)
	// onText, if set, is called with each line that isn't an event.
	onText func(line string)
}

func newTally() *tally {
	return &tally{packages: map[string]*pkg{}, builds: map[string]*strings.Builder{}}
}

// read counts all events of r and closes the packages that never ended.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			t.line(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
	t.close()
	return nil
}

func (t *tally) line(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		if t.onText != nil {
			t.onText(line)
		}
		return
	}
	t.add(e)
}

func (t *tally) add(e event) {
	switch {
	case e.Action == "build-output":
		if t.builds[e.ImportPath] == nil {
			t.builds[e.ImportPath] = &strings.Builder{}
		}
		t.builds[e.ImportPath].WriteString(e.Output)
	case e.Package == "":
		// build-fail adds nothing: the package's own event names the build that failed.
	case e.Test == "":
		t.addPackage(e)
	default:
		t.packageOf(e.Package).add(e)
	}
}

func (t *tally) addPackage(e event) {
	p := t.packageOf(e.Package)
	switch outcome(e.Action) {
	case passed, failed, skipped:
		p.outcome = outcome(e.Action)
		p.elapsed = e.Elapsed
		if build := t.builds[e.FailedBuild]; build != nil {
			p.output.WriteString(build.String())
		}
		t.end(p)
	default:
		p.output.WriteString(e.Output)
	}
}

func (t *tally) packageOf(path string) *pkg {
	p := t.packages[path]
	if p == nil {
		p = &pkg{path: path, byName: map[string]*test{}}
		t.packages[path] = p
	}
	return p
}

// end counts p and forgets it: a stream may run the same package again.
func (t *tally) end(p *pkg) {
	delete(t.packages, p.path)
	results := p.results()
	t.results = append(t.results, results...)
	if t.onPackage != nil {
		t.onPackage(p, results)
	}
}

// close ends the packages whose last event is missing.
func (t *tally) close() {
	paths := make([]string, 0, len(t.packages))
	for path := range t.packages {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		p := t.packages[path]
		p.output.WriteString("the package's tests never ended\n")
		t.end(p)
	}
}

// add takes an event of one test.
func (p *pkg) add(e event) {
	c := p.byName[e.Test]
	if c == nil {
		c = &test{pkg: p.path, name: e.Test, parent: p.parentOf(e.Test)}
		if c.parent != nil {
			c.parent.children++
		}
		p.byName[e.Test] = c
		p.tests = append(p.tests, c)
	}
	switch outcome(e.Action) {
	case passed, failed, skipped:
		c.outcome = outcome(e.Action)
		if c.outcome == failed {
			for above := c.parent; above != nil; above = above.parent {
				above.failedBelow = true
			}
		}
	default:
		c.output.WriteString(e.Output)
	}
}

// parentOf finds the test in which name was started. A subtest's own name may hold slashes, so that the longest known
// prefix is the parent, not all before the last slash.
func (p *pkg) parentOf(name string) *test {
	for i := len(name) - 1; i > 0; i-- {
		if name[i] == '/' && p.byName[name[:i]] != nil {
			return p.byName[name[:i]]
		}
	}
	return nil
}

// results counts what the package ran.
func (p *pkg) results() []result {
	var results []result
	anyFailed := false
	for _, c := range p.tests {
		r := result{pkg: p.path, name: c.name, outcome: c.outcome}
		switch {
		case c.outcome == unfinished:
			if c.children > 0 {
				// The child that hangs says it better; where all children ended, the package's own failure says it.
				continue
			}
			r.outcome, r.output = failed, c.output.String()+"the test never ended\n"
		case c.outcome == failed && !c.failedBelow:
			r.output = c.output.String()
		case c.children > 0:
			continue
		case c.outcome == skipped:
			r.reason = skipReason(c.output.String())
		}
		anyFailed = anyFailed || r.outcome == failed
		results = append(results, r)
	}
	if (p.outcome == failed || p.outcome == unfinished) && !anyFailed {
		results = append(results, result{pkg: p.path, outcome: failed, output: p.output.String()})
	}
	return results
}

var sourceLine = regexp.MustCompile(`^\S+\.go:\d+: `)

// skipReason takes the text given to t.Skip from a skipped test's output.
func skipReason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, sourceLine.ReplaceAllString(line, ""))
	}
	if said == nil {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
