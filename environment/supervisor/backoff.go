package supervisor

import (
	"cmp"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// Docker's figures (moby, daemon/internal/restartmanager).
const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = time.Minute
	goodRun      = 10 * time.Second
)

// backoff decides whether and when an instance is started again. It belongs to one
// goroutine.
type backoff struct {
	policy   plan.Restart
	attempts int           // in a row
	delay    time.Duration // before the last of them
}

// next is asked when a container has ended with code after it had run for ran.
func (b *backoff) next(code int, ran time.Duration) (delay time.Duration, again bool) {
	if ran >= cmp.Or(b.policy.Window, goodRun) {
		b.attempts, b.delay = 0, 0
	}
	switch b.policy.Policy {
	case "always", "unless-stopped":
	case "on-failure":
		if code == 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	if b.policy.MaxAttempts > 0 && b.attempts >= b.policy.MaxAttempts {
		return 0, false
	}
	b.attempts++
	b.delay = min(longestDelay, max(cmp.Or(b.policy.Delay, firstDelay), 2*b.delay))
	return b.delay, true
}
