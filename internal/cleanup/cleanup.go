// Package cleanup unwinds what a function acquired, in reverse order, on every
// way out of it.
package cleanup

import "errors"

// Stack holds undo steps. The zero value is ready. It is not safe for
// concurrent use: it belongs to the function that acquires.
type Stack struct {
	steps []func() error
}

// Push adds a step that undoes what was just acquired.
func (s *Stack) Push(undo func() error) { s.steps = append(s.steps, undo) }

// Unwind runs all steps, last pushed first, and empties the stack. A failing
// step does not keep the others from running; the errors are joined.
func (s *Stack) Unwind() error {
	var errs []error
	for len(s.steps) > 0 {
		last := len(s.steps) - 1
		step := s.steps[last]
		s.steps = s.steps[:last]
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

// Release forgets all steps: what was acquired now belongs to somebody else.
func (s *Stack) Release() { s.steps = nil }
