package main

import (
	"fmt"
	"io"
	"strings"
)

// counts are numbers of tests by outcome.
type counts struct{ passed, failed, skipped int }

// String gives the form that readers of a build's log look for.
func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func count(results []result) counts {
	var c counts
	for _, r := range results {
		switch r.outcome {
		case passed:
			c.passed++
		case failed:
			c.failed++
		case skipped:
			c.skipped++
		}
	}
	return c
}

// printPackage prints one line for a package that ran tests, and the output of those that failed.
func printPackage(w io.Writer, p *pkg, results []result) {
	if len(results) == 0 {
		return
	}
	for _, r := range results {
		if r.outcome == failed {
			fmt.Fprintf(w, "--- FAIL: %s\n%s", r, indent(r.output))
		}
	}
	c := count(results)
	verdict := "ok  "
	if c.failed > 0 {
		verdict = "FAIL"
	}
	fmt.Fprintf(w, "%s %s: %s in %.1fs\n", verdict, p.path, c, p.elapsed)
}

func indent(output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		b.WriteString("    " + line)
	}
	if output != "" && !strings.HasSuffix(output, "\n") {
		b.WriteString("\n")
	}
	return b.String()
}

// phaseResults are the results of one phase.
type phaseResults struct {
	phase   string
	results []result
}

// printTotal prints what failed and what was skipped in all phases, a line a phase, and last the sum, which it returns.
func printTotal(w io.Writer, phases []phaseResults) counts {
	ran := map[string]bool{}
	for _, p := range phases {
		for _, r := range p.results {
			if r.outcome != skipped {
				ran[r.String()] = true
			}
		}
	}

	var sum counts
	var failures, skips []string
	ranElsewhere := 0
	seen := map[string]bool{}
	for _, p := range phases {
		for _, r := range p.results {
			switch r.outcome {
			case passed:
				sum.passed++
			case failed:
				sum.failed++
				failures = append(failures, fmt.Sprintf("  %s: %s", p.phase, r))
			case skipped:
				switch {
				case ran[r.String()]:
					ranElsewhere++
				case !seen[r.String()]:
					sum.skipped++
					skips = append(skips, fmt.Sprintf("  %s: %s: %s", p.phase, r, r.reason))
				}
				seen[r.String()] = true
			}
		}
	}

	for _, p := range phases {
		fmt.Fprintf(w, "%s: %s\n", p.phase, count(p.results))
	}
	if ranElsewhere > 0 {
		fmt.Fprintf(w, "skipped in one phase and run in another: %d\n", ranElsewhere)
	}
	printList(w, "skipped:", skips)
	printList(w, "failed:", failures)
	fmt.Fprintln(w, sum)
	return sum
}

func printList(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(w, title)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}
