package plan

import (
	"slices"
	"strings"
)

// Problem is one reason why an environment cannot be planned.
type Problem struct {
	// Path is where it is in the words of a Compose file: services, web, depends_on, db.
	Path []string
	// Text is a clause: "it depends on \"db\", which is no service; …".
	Text string
}

func (p *Problem) Error() string { return strings.Join(p.Path, ".") + ": " + p.Text }

// Problems are all of them, sorted by path.
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

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b *Problem) int {
		if by := slices.Compare(a.Path, b.Path); by != 0 {
			return by
		}
		return strings.Compare(a.Text, b.Text)
	})
	return slices.CompactFunc(p, func(a, b *Problem) bool { return a.Text == b.Text && slices.Equal(a.Path, b.Path) })
}
