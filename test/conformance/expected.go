package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// expectation is one line of the table.
type expectation struct {
	name string
	// verdicts by runtime, as in runtimes.
	verdicts map[string]verdict
	// reason is why sandboxrun does not pass; "" if it does.
	reason string
}

// unrecorded stands for a verdict of another runtime that was never seen; the
// test then tells it and compares nothing.
const unrecorded verdict = "-"

// runtimes are the columns of the table.
var runtimes = []string{"sandboxrun", "runc", "crun"}

// readExpected reads the table: name, a verdict for each of runtimes, and a
// reason, which only what sandboxrun does not pass has. Lines that begin with #
// are comments.
func readExpected(table string) ([]expectation, error) {
	var list []expectation
	for i, line := range strings.Split(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 1+len(runtimes) {
			return nil, fmt.Errorf("line %d: %d fields, not a name and %d verdicts", i+1, len(fields), len(runtimes))
		}
		e := expectation{name: fields[0], verdicts: map[string]verdict{}, reason: strings.Join(fields[1+len(runtimes):], " ")}
		for column, runtime := range runtimes {
			v := verdict(fields[1+column])
			known := []verdict{passed, silent, failed}
			if runtime != runtimes[0] {
				known = append(known, unrecorded)
			}
			if !slices.Contains(known, v) {
				return nil, fmt.Errorf("line %d: %q is no verdict", i+1, v)
			}
			e.verdicts[runtime] = v
		}
		if (e.verdicts[runtimes[0]] == passed) != (e.reason == "") {
			return nil, fmt.Errorf("line %d: a reason is for what does not pass, and only for that", i+1)
		}
		if slices.ContainsFunc(list, func(other expectation) bool { return other.name == e.name }) {
			return nil, fmt.Errorf("line %d: %s is there twice", i+1, e.name)
		}
		list = append(list, e)
	}
	return list, nil
}
