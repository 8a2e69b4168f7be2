package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoFile says that there is no Compose file where one was looked for.
var ErrNoFile = errors.New("no Compose file")

// Problem is one reason why a file cannot be used.
type Problem struct {
	// File as the caller named it, or as it was found.
	File string
	// Line and Column count from 1; 0 where the problem has no place.
	Line, Column int
	// Key is where it is in words: services.web.ports. Empty for the file itself.
	Key string
	// Text is a clause: "it must be a list, not text".
	Text string
}

func (p *Problem) Error() string { return position(p.File, p.Line, p.Column) + prefix(p.Key) + p.Text }

// Problems are all of them, in the order of files and lines.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each *Problem.
func (p Problems) Unwrap() []error {
	out := make([]error, len(p))
	for i, problem := range p {
		out[i] = problem
	}
	return out
}

// Ignored is something in a file that has no effect, and why.
type Ignored struct {
	File         string
	Line, Column int
	// Key is where it is in words: services.web.logging.
	Key string
	// Reason is a clause.
	Reason string
	// Unsupported tells that it would be an error without Options.IgnoreUnsupported.
	Unsupported bool
}

// String is one line for people.
func (i Ignored) String() string {
	return position(i.File, i.Line, i.Column) + prefix(i.Key) + "ignored: " + i.Reason
}

func position(file string, line, column int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", file, line, column)
}

func prefix(key string) string {
	if key == "" {
		return ""
	}
	return key + ": "
}

// sorted orders problems by the files' order, line and column, and leaves out what is told twice.
func (p Problems) sorted(files []string) Problems {
	slices.SortStableFunc(p, func(a, b *Problem) int {
		return cmp.Or(
			slices.Index(files, a.File)-slices.Index(files, b.File),
			strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Key, b.Key), strings.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(p, func(a, b *Problem) bool { return *a == *b })
}

func sortIgnored(list []Ignored, files []string) []Ignored {
	slices.SortStableFunc(list, func(a, b Ignored) int {
		return cmp.Or(
			slices.Index(files, a.File)-slices.Index(files, b.File),
			strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Key, b.Key), strings.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(list)
}
