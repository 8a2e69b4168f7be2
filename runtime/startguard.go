package runtime

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// startGuard ends a creation that does not come to its end: one may wait for
// ever for a hook, a file system or a device of the container's. A stop kills
// what is in the container's cgroup, so that libcontainer gives up and the
// creation is rolled back. There is no program yet that could be asked.
//
// Hooks that run outside the container end with the context that the guard
// cancels.
type startGuard struct {
	signals <-chan os.Signal
	cancel  context.CancelFunc // of the hooks' context; may be nil

	// Valid after end:
	stopped syscall.Signal // 0 if nothing stopped the creation
	early   []os.Signal    // other signals that came meanwhile

	created chan struct{}
	done    chan struct{}
}

// watch begins the guard of a container that exists on disk only.
func (g *startGuard) watch(ctx context.Context, c *Container) {
	g.created, g.done = make(chan struct{}), make(chan struct{})
	// Now, since libcontainer changes the paths that it has of a start that fails.
	group, err := c.openGroup()
	if err != nil {
		c.runtime.log.Debug("a start that hangs could not be ended", "id", c.id, "error", err)
	}
	go func() {
		defer close(g.done)
		cancelled := ctx.Done()
		for {
			select {
			case <-g.created:
				return
			case <-cancelled:
				g.stopped = syscall.SIGTERM
			case sig := <-g.signals:
				if sig != syscall.SIGTERM && sig != syscall.SIGINT {
					g.early = append(g.early, sig)
					continue
				}
				g.stopped = sig.(syscall.Signal)
			}
			if g.cancel != nil {
				g.cancel()
			}
			g.kill(group)
			return
		}
	}()
}

// kill kills until the creation has ended: its next process may not have
// joined the cgroup yet.
func (g *startGuard) kill(group *cgroup.Group) {
	if group == nil {
		return
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		group.Kill(ctx) //nolint:errcheck // tried again until there is nothing to kill
		cancel()
		select {
		case <-g.created:
			return
		case <-again.C:
		}
	}
}

// end ends the guard and waits for it. It may be called without watch.
func (g *startGuard) end() {
	if g.created != nil {
		close(g.created)
		<-g.done
	}
}
