package cleanup

import (
	"errors"
	"slices"
	"testing"
)

func TestUnwindRunsAllInReverseAndJoinsErrors(t *testing.T) {
	errA, errC := errors.New("a"), errors.New("c")
	var order []string
	step := func(name string, err error) func() error {
		return func() error { order = append(order, name); return err }
	}
	var s Stack
	s.Push(step("a", errA))
	s.Push(step("b", nil))
	s.Push(step("c", errC))

	err := s.Unwind()

	if !errors.Is(err, errA) || !errors.Is(err, errC) {
		t.Errorf("Unwind() = %v, want both errors", err)
	}
	if want := []string{"c", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
	if err := s.Unwind(); err != nil || len(order) != 3 {
		t.Errorf("second Unwind() = %v and ran steps again: %v", err, order)
	}
}

func TestReleaseForgets(t *testing.T) {
	var s Stack
	s.Push(func() error { return errors.New("ran") })
	s.Release()
	if err := s.Unwind(); err != nil {
		t.Errorf("Unwind() after Release() = %v", err)
	}
}
