package control

import (
	"fmt"
	"sync"
	"time"
)

// What is kept of the past. The oldest events go first.
const (
	maxEvents     = 10_000
	maxEventBytes = 4 << 20
)

// history keeps events as lines for watchers, each of which reads at its own pace:
// a slow one holds up nobody and holds no memory.
type history struct {
	mu sync.Mutex
	// guarded by mu:
	lines   [][]byte
	bytes   int
	first   int           // the number of lines[0], counted from the first event ever
	ended   bool          // nothing is to come
	changed chan struct{} // closed at the next change
}

func newHistory() *history { return &history{changed: make(chan struct{})} }

func (h *history) add(line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.lines = append(h.lines, line)
	h.bytes += len(line)
	for len(h.lines) > maxEvents || h.bytes > maxEventBytes && len(h.lines) > 1 {
		h.bytes -= len(h.lines[0])
		h.lines[0] = nil
		h.lines = h.lines[1:]
		h.first++
	}
	h.notifyLocked()
}

func (h *history) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		h.notifyLocked()
	}
}

func (h *history) notifyLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// next is the number of the next event.
func (h *history) next() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first + len(h.lines)
}

// from returns the event with the given number, or the oldest that there is and how
// many were lost before it. A nil line is one that has not happened: it may after
// changed is closed, but not if ended.
func (h *history) from(number int) (line []byte, lost int, ended bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number < h.first {
		lost = h.first - number
		number = h.first
	}
	if i := number - h.first; i < len(h.lines) {
		line = h.lines[i]
	}
	return line, lost, h.ended, h.changed
}

// eventLine encodes an event. A report that makes it too long is left out.
func eventLine(e Event) ([]byte, error) {
	line, err := encode(Reply{Event: &e})
	if err != nil && e.Report != nil {
		e.Report = nil
		line, err = encode(Reply{Event: &e})
	}
	return line, err
}

func lostLine(lost int) ([]byte, error) {
	return eventLine(Event{At: time.Now(), Kind: EventLost, Detail: fmt.Sprintf("%d events", lost)})
}
