package probe

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// output counts the lines that match.
type output struct {
	pattern *regexp.Regexp
	matched chan struct{} // closed when enough did

	mu   sync.Mutex
	left int // guarded by mu; 0 when matched is closed
	want int
}

func newOutput(p plan.Probe) (*output, error) {
	if p.Pattern == "" {
		return nil, errors.New("it needs a pattern")
	}
	pattern, err := regexp.Compile(p.Pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	if p.Times < 0 {
		return nil, fmt.Errorf("times %d is negative", p.Times)
	}
	want := max(p.Times, 1)
	return &output{pattern: pattern, matched: make(chan struct{}), left: want, want: want}, nil
}

func (o *output) line(line []byte) {
	select {
	case <-o.matched: // for the rest of the service's life this is all that it costs
		return
	default:
	}
	if !o.pattern.Match(line) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left == 0 {
		return
	}
	if o.left--; o.left == 0 {
		close(o.matched)
	}
}

// wait tells whether enough lines matched before ctx ended.
func (o *output) wait(ctx context.Context, seen *sighting) bool {
	seen.note("no line")
	select {
	case <-o.matched:
		return true
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	seen.text = fmt.Sprintf("%d of %d lines of output matched %q", o.want-o.left, o.want, o.pattern)
	return false
}
