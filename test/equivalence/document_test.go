package equivalence_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The page belongs to others too: only what is between the markers is ours.
const (
	document   = "../../docs/compatibility.md"
	beginMark  = "<!-- equivalence: begin (written by go test ./test/equivalence -update) -->\n"
	endMark    = "<!-- equivalence: end -->\n"
	newHeading = "# Compatibility\n\n"
)

// TestDocument holds the page to the tables, and the tables to each other.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil && !*update {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if found != closed {
		t.Fatalf("%s has only one of the markers %q and %q", document, beginMark, endMark)
	}
	if !found && before == "" {
		before = newHeading
	}
	want := before + beginMark + section() + endMark + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the tables say; run go test ./test/equivalence -run TestDocument -update and review the change", document)
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// section is the page's part about runc.
func section() string {
	var out strings.Builder
	total, table := 0, strings.Builder{}
	for _, g := range groups() {
		differing := 0
		for _, c := range g.cases {
			if differs(g.name + "/" + c.name) {
				differing++
			}
		}
		total += len(g.cases)
		fmt.Fprintf(&table, "| %s | %s | %d | %d |\n", g.name, g.about, len(g.cases), differing)
	}
	out.WriteString("## Beside runc\n\n")
	fmt.Fprintf(&out, "`test/equivalence` runs %d cases through runc and through sandboxrun and compares the exit code of every command, what it prints, the\n", total)
	out.WriteString("program's output, the shape of JSON, and what a program sees inside: its status, capabilities, limits, mounts, cgroups, namespaces, devices,\n")
	out.WriteString("descriptors, environment and terminal. A difference that is not in the list below fails the test, and so does one that is gone. The figures are for\n")
	out.WriteString("runc 1.5 on cgroup v1; the texts of error messages are not compared.\n\n")
	out.WriteString("| group | about | cases | of these differ |\n|---|---|---:|---:|\n")
	out.WriteString(table.String())
	out.WriteString("\n### Differences\n\n")
	for _, d := range differences() {
		fmt.Fprintf(&out, "- **%s**", d.title)
		fmt.Fprintf(&out, ": %s\n  Seen in: %s.\n", d.reason, strings.Join(d.cases, "; "))
	}
	return out.String()
}

// differs tells whether a case shows a difference.
func differs(name string) bool {
	for _, d := range differences() {
		if d.concerns(name) {
			return true
		}
	}
	return false
}

// TestEveryDifferenceNamesCasesThatExist keeps the list from going stale with
// names that nothing matches.
func TestEveryDifferenceNamesCasesThatExist(t *testing.T) {
	names := map[string]bool{}
	for _, g := range groups() {
		for _, c := range g.cases {
			if names[g.name+"/"+c.name] {
				t.Errorf("two cases are called %s/%s", g.name, c.name)
			}
			names[g.name+"/"+c.name] = true
		}
	}
	for _, d := range differences() {
		for _, pattern := range d.cases {
			known := false
			for name := range names {
				only := difference{cases: []string{pattern}}
				known = known || only.concerns(name)
			}
			if !known {
				t.Errorf("difference %q names %q, and there is no such case", d.title, pattern)
			}
		}
	}
}
