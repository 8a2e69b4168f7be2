package launch

import "errors"

var (
	// ErrPortInUse is wrapped by the error about a published port that somebody has.
	ErrPortInUse = errors.New("port is in use")

	// ErrSecret is wrapped by every error about a secret's or config's content.
	ErrSecret = errors.New("secret cannot be read")

	// ErrLimits is wrapped by the error about limits that this host cannot enforce.
	ErrLimits = errors.New("limits cannot be enforced")

	// ErrSupervisor is wrapped by the error about a supervisor that ended before it
	// answered.
	ErrSupervisor = errors.New("the environment's supervisor ended at once")
)

// errNoAnswer is the cause of a launch that took longer than answerTimeout.
var errNoAnswer = errors.New("the environment's supervisor does not answer")
