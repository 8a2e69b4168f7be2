package control

import (
	"context"
	"os"
)

// Handler is what a Server asks of the supervisor. Its methods are called at the
// same time from several goroutines, each within the life of one connection.
type Handler interface {
	// Status returns a snapshot at once.
	Status() Status
	// Stats reads the figures of every instance.
	Stats(ctx context.Context) ([]InstanceStats, error)
	// Stop begins to stop the environment and returns at once; a second one may shorten
	// the grace. What happens then is told by events.
	Stop(r StopRequest) error
	// Exec runs a command and waits for its end, or for its start with Detach. files are
	// stdin, stdout and stderr, or with Terminal the end of a socketpair that is to get the
	// terminal's master; they are the handler's to close. started is called once, when the
	// command runs. When ctx ends the client has gone: the command is to be killed.
	Exec(ctx context.Context, r ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error)
}
