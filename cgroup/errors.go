package cgroup

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalidLimit is what every error about a limit's value wraps: the user wrote something that
	// is malformed, contradicts another limit or names something that this host does not have.
	ErrInvalidLimit = errors.New("invalid limit")

	// ErrNoCgroups says that no cgroup hierarchy is mounted at /sys/fs/cgroup.
	ErrNoCgroups = errors.New("no cgroup hierarchy")

	// ErrNotSupported says that the kernel or the cgroup version has no such feature.
	ErrNotSupported = errors.New("not supported by this kernel or cgroup version")

	// ErrRemoved says that the group does not exist any more.
	ErrRemoved = errors.New("cgroup was removed")

	// ErrHierarchyRoot refuses an operation that would reach every process of the host.
	ErrHierarchyRoot = errors.New("refusing to act on the root of a cgroup hierarchy")

	// ErrBusy says that a group cannot be removed because processes are still in it.
	ErrBusy = errors.New("cgroup still has processes")

	// ErrOOMLog says that the kernel log cannot be read, so that the victims of the OOM killer are
	// unknown (not: none).
	ErrOOMLog = errors.New("kernel log not readable")
)

// limitError is a leaf error whose whole text is for the user and that errors.Is finds to be
// ErrInvalidLimit.
type limitError struct{ text string }

func (e *limitError) Error() string        { return e.text }
func (e *limitError) Is(target error) bool { return target == ErrInvalidLimit }

func invalidf(format string, args ...any) error {
	return &limitError{text: fmt.Sprintf(format, args...)}
}
