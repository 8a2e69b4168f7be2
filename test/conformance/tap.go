package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// verdict is how one executable of the suite ended.
type verdict string

const (
	// passed: exit code 0, one assertion or more, and all of them hold.
	passed verdict = "pass"
	// silent: exit code 0 and nothing asserted, but no error told either. It is
	// all that some executables do where they are content.
	silent verdict = "silent"
	failed verdict = "fail"
)

// result is the outcome of one executable.
type result struct {
	verdict verdict
	ok      int
	// problems are the assertions that don't hold, and errors told without one.
	problems []string
}

var (
	tapAssertion = regexp.MustCompile(`^(not )?ok\b *[0-9]* *(.*)$`)
	tapPlan      = regexp.MustCompile(`^1\.\.[0-9]+`)
	// An error in the YAML of an assertion that holds is expected there, as of
	// an operation that must fail.
	tapError = regexp.MustCompile(`^ +"error": (".+")`)
)

// readUntilFailure reads what an executable prints: all of it, or, if a failure
// is enough to know, up to the first assertion that does not hold. cut tells
// that it did not read to the end.
func readUntilFailure(r io.Reader, enough bool) (output string, cut bool, err error) {
	var read strings.Builder
	buffered := bufio.NewReader(r)
	for {
		line, err := buffered.ReadString('\n')
		read.WriteString(line)
		if errors.Is(err, io.EOF) {
			return read.String(), false, nil
		}
		if err != nil {
			return read.String(), false, err
		}
		if match := tapAssertion.FindStringSubmatch(strings.TrimSuffix(line, "\n")); enough && match != nil && match[1] != "" {
			return read.String(), true, nil
		}
	}
}

// readTAP judges what an executable printed (testanything.org, version 13, with
// JSON for YAML) and its exit code.
func readTAP(output string, exitCode int) result {
	var r result
	if exitCode != 0 {
		r.problems = append(r.problems, fmt.Sprintf("exit code %d", exitCode))
	}
	hasPlan, asserted := false, false
	lines := bufio.NewScanner(strings.NewReader(output))
	lines.Buffer(nil, len(output)+1)
	for lines.Scan() {
		line := lines.Text()
		if match := tapAssertion.FindStringSubmatch(line); match != nil {
			asserted = true
			if match[1] == "" {
				r.ok++
			} else {
				r.problems = append(r.problems, strings.TrimPrefix(match[2], "- "))
			}
		} else if match := tapError.FindStringSubmatch(line); match != nil && !asserted {
			r.problems = append(r.problems, match[1])
		} else if tapPlan.MatchString(line) {
			hasPlan = true
		}
	}
	if asserted && !hasPlan {
		r.problems = append(r.problems, "it ended before its plan")
	}
	switch {
	case len(r.problems) > 0:
		r.verdict = failed
	case asserted:
		r.verdict = passed
	default:
		r.verdict = silent
	}
	return r
}
