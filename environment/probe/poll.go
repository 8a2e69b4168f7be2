package probe

import (
	"context"
	"fmt"
	"time"
)

// Pauses between two looks: the first is short for services that start in some
// milliseconds; the longest leaves a part of the promised 20 ms to the look
// itself and to a busy machine. Fifty services that wait for a port cost a
// sixth of a CPU by it, half of that in the kernel's walk over all its listeners.
const (
	firstPause   = time.Millisecond
	longestPause = 15 * time.Millisecond
)

// poll calls look until it returns nothing, which is true, or ctx ends, which
// is false. What look returns is what it saw.
func poll(ctx context.Context, seen *sighting, look func(context.Context) string) bool {
	pause := firstPause
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		saw := look(ctx)
		switch {
		case saw == "":
			return true
		case over(ctx):
			return false // what was cut short saw nothing
		}
		seen.note(saw)
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		pause = min(pause+pause/4, longestPause)
	}
}

// over tells whether ctx has ended. A system call with the same deadline may end
// a moment before ctx knows.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || (ok && !time.Now().Before(deadline))
}

// sighting is what was seen last, and since when it has been the same. It
// belongs to one goroutine.
type sighting struct {
	text  string
	since time.Time
}

func (s *sighting) note(text string) {
	if text != s.text {
		s.text, s.since = text, time.Now()
	}
}

// String is as in "connection refused at 10.89.0.3:5432 for 4.1s".
func (s *sighting) String() string {
	if s.text == "" {
		return "nothing was seen yet"
	}
	return fmt.Sprintf("%s for %v", s.text, time.Since(s.since).Round(100*time.Millisecond))
}
