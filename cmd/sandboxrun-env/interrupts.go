package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// interrupts are Ctrl-C and its like: the first ends ctx with an interruption as its
// cause, each further one is sent to more.
type interrupts struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	more    chan os.Signal
	signals chan os.Signal
	waiting sync.WaitGroup
}

// interruption is a signal that asked this process to end. It is a cancellation to
// whoever asks by errors.Is.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string      { return "interrupted by " + i.signal.String() }
func (interruption) Is(target error) bool { return target == context.Canceled }

func newInterrupts(parent context.Context) *interrupts {
	i := &interrupts{more: make(chan os.Signal, 1), signals: make(chan os.Signal, 2)}
	i.ctx, i.cancel = context.WithCancelCause(parent)
	// Without a reader of the output nobody is there to see it; it would kill this process before
	// it has tidied up.
	signal.Notify(i.signals, append(endSignals(), syscall.SIGPIPE)...)
	i.waiting.Go(func() {
		for s := range i.signals {
			// A supervisor that dies closes pipes to this process, too: its end is told otherwise.
			if s == syscall.SIGPIPE && !hasLostReaders() {
				continue
			}
			if i.ctx.Err() == nil {
				i.cancel(interruption{s})
				continue
			}
			if s == syscall.SIGPIPE {
				continue
			}
			select {
			case i.more <- s:
			default:
			}
		}
	})
	return i
}

// hasLostReaders tells whether nobody can read stdout or stderr any more.
func hasLostReaders() bool {
	// Errors are reported without being asked for.
	outputs := []unix.PollFd{{Fd: 1}, {Fd: 2}}
	n, err := unix.Poll(outputs, 0)
	return err == nil && n > 0
}

// endSignals ask this process to end: Ctrl-C, kill(1), and a terminal that is closed, unless
// nohup(1) was to hold that off.
func endSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// first is the signal that ended ctx.
func (i *interrupts) first() os.Signal {
	var cause interruption
	if errors.As(context.Cause(i.ctx), &cause) {
		return cause.signal
	}
	return syscall.SIGTERM
}

func (i *interrupts) end() {
	signal.Stop(i.signals)
	close(i.signals)
	i.waiting.Wait()
	i.cancel(nil)
}
