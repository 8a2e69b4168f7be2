package main

import (
	"context"
	"errors"
	"time"
)

// answerTimeout is after how long a supervisor counts as hung: stopped by SIGSTOP,
// or in a frozen control group.
const answerTimeout = 10 * time.Second

// errNoAnswer: a supervisor lives and does not say so.
var errNoAnswer = errors.New("the supervisor does not answer")

// answered asks a supervisor for what takes it no time. The error wraps errNoAnswer if
// it hangs.
func answered[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	return ask(limited)
}
