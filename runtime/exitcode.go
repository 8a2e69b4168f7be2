package runtime

import "errors"

// ExitCode is what a command that ran into err exits with: the code of a
// *StartError, 1 for any other failure of ours, as runc's callers expect.
func ExitCode(err error) int {
	if start := (*StartError)(nil); errors.As(err, &start) {
		return start.ExitCode
	}
	return 1
}
