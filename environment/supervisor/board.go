package supervisor

import (
	"context"
	"sync"
)

// board is the lock of all that is known of the instances, and tells of each
// change of it. The zero value is not ready; see newBoard.
type board struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change; guarded by mu
}

func newBoard() *board { return &board{changed: make(chan struct{})} }

// update makes a change and wakes all who wait for one.
func (b *board) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// look reads under the lock.
func (b *board) look(read func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	read()
}

// next returns what is closed at the next change after read, which is called under
// the lock.
func (b *board) next(read func()) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	read()
	return b.changed
}

// await waits until met, which is called under the lock, says yes or fails, or
// until ctx ends, whose cause it returns then.
func (b *board) await(ctx context.Context, met func() (bool, error)) error {
	for {
		var ok bool
		var err error
		changed := b.next(func() { ok, err = met() })
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
