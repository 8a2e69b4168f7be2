package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// stoppedBy is why a command that only makes or starts a container ended before
// it had.
type stoppedBy struct{ signal syscall.Signal }

func (s stoppedBy) Error() string { return "stopped by " + s.signal.String() }

// stoppable returns a context that SIGTERM and SIGINT end, so that the command
// can take back what it did. release gives the signals their usual effect again.
func stoppable(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case sig := <-signals:
			cancel(stoppedBy{sig.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// failStopped gives an error that a signal led to the exit code that the signal
// would have.
func (inv *invocation) failStopped(ctx context.Context, err error) error {
	var stopped stoppedBy
	if err != nil && errors.As(context.Cause(ctx), &stopped) {
		inv.exitCode = 128 + int(stopped.signal)
	}
	return err
}
