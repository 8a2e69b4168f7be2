package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// redrawInterval bounds how often bars are drawn.
const redrawInterval = 100 * time.Millisecond

// progress shows how layers come in: a bar each on a terminal, else a line for
// each that is done or is tried again.
type progress struct {
	out   io.Writer
	quiet bool
	// width is that of the terminal; 0 without one.
	width int

	mu     sync.Mutex
	order  []manifest.Digest
	layers map[manifest.Digest]*layerProgress
	drawn  int // lines on the terminal
	last   time.Time
	worked bool
}

type layerProgress struct {
	stage       string
	done, total int64
	began       time.Time
	from        int64
}

func newProgress(out io.Writer, quiet bool) *progress {
	p := &progress{out: out, quiet: quiet, layers: map[manifest.Digest]*layerProgress{}}
	if f, ok := out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			p.width = max(40, int(size.Col))
		}
	}
	return p
}

// changed tells whether anything was fetched or unpacked.
func (p *progress) changed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worked
}

// step takes one report; see image.Progress.
func (p *progress) step(s image.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.layers[s.Digest]
	if l == nil {
		l = &layerProgress{}
		p.layers[s.Digest] = l
		p.order = append(p.order, s.Digest)
	}
	now := time.Now()
	if s.Stage != l.stage && (s.Stage == "fetch" || s.Stage == "unpack") {
		l.began, l.from = now, s.Done
		p.worked = true
	}
	ended := s.Stage != l.stage && (s.Stage == "done" || s.Stage == "exists" || s.Stage == "retry")
	l.stage, l.done, l.total = s.Stage, s.Done, s.Total
	switch {
	case p.quiet:
	case p.width > 0:
		if ended || now.Sub(p.last) >= redrawInterval {
			p.last = now
			p.draw(now)
		}
	case ended && s.Stage != "exists" && !l.began.IsZero():
		// One that another process brought in has no beginning here.
		fmt.Fprintln(p.out, p.line(s, l, now))
	}
}

// line says in plain words what became of a layer.
func (p *progress) line(s image.Progress, l *layerProgress, now time.Time) string {
	if s.Stage == "retry" {
		return fmt.Sprintf("layer %s: trying again: %v", s.Digest.Short(), s.Err)
	}
	size := max(l.done, l.total)
	return fmt.Sprintf("layer %s: %s in %s", s.Digest.Short(), units.BytesSize(float64(max(size, 0))), now.Sub(l.began).Round(time.Millisecond))
}

// draw paints all bars over those that are there.
func (p *progress) draw(now time.Time) {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	for _, digest := range p.order {
		b.WriteString("\r\x1b[K" + p.bar(digest, p.layers[digest], now) + "\n")
	}
	p.drawn = len(p.order)
	io.WriteString(p.out, b.String()) //nolint:errcheck // nothing can be done where the terminal is gone
}

func (p *progress) bar(digest manifest.Digest, l *layerProgress, now time.Time) string {
	text := fmt.Sprintf("%s %-7s", digest.Short(), l.stage)
	if l.stage != "fetch" && l.stage != "unpack" || l.total <= 0 {
		if l.done > 0 {
			text += " " + units.BytesSize(float64(l.done))
		}
		return clip(text, p.width)
	}
	rate := ""
	if elapsed := now.Sub(l.began).Seconds(); elapsed > 0.2 {
		rate = " " + units.BytesSize(float64(l.done-l.from)/elapsed) + "/s"
	}
	figures := fmt.Sprintf(" %s/%s%s", units.BytesSize(float64(l.done)), units.BytesSize(float64(l.total)), rate)
	room := p.width - len(text) - len(figures) - 4
	if room < 8 {
		return clip(text+figures, p.width)
	}
	room = min(room, 40)
	filled := int(min(l.done, l.total) * int64(room) / l.total)
	return text + " [" + strings.Repeat("#", filled) + strings.Repeat(" ", room-filled) + "]" + figures
}

func clip(s string, width int) string {
	if len(s) >= width {
		return s[:width-1]
	}
	return s
}

// end paints the last state.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.quiet && p.width > 0 && p.drawn > 0 {
		p.draw(time.Now())
	}
}
