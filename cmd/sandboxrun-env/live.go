package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
)

// redrawInterval is how often times on a terminal move.
const redrawInterval = 100 * time.Millisecond

// live shows how services come up and go down: a block of one line each, painted
// over, on a terminal, and a line for each thing that happens elsewhere. Other
// output has to pass through print, which keeps it out of the block. Safe for
// concurrent use.
type live struct {
	out   io.Writer
	quiet bool
	// width is that of the terminal; 0 without one.
	width int
	color bool

	mu    sync.Mutex
	times *timeline
	name  string
	drawn int    // lines of the block on the terminal
	last  string // what they are
	ended bool   // the block is not drawn any more
}

func newLive(out io.Writer, name string, times *timeline, quiet bool, color bool) *live {
	width := 0
	if !quiet {
		width = terminalWidth(out)
	}
	return &live{out: out, quiet: quiet, width: width, color: color && width > 0, times: times, name: name}
}

// note takes an event and shows it.
func (l *live) note(e control.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times.note(e)
	switch {
	case l.quiet:
	case l.width > 0 && !l.ended:
		if e.Kind == control.EventNetwork { // nothing that the block has a place for
			l.eraseLocked()
			fmt.Fprintf(l.out, "%s %s\n", stamp(l.times.since(e.At)), l.times.describe(e))
		}
		l.redrawLocked(e.At)
	default:
		if text := l.times.describe(e); text != "" {
			fmt.Fprintf(l.out, "%s %s\n", stamp(l.times.since(e.At)), text)
		}
	}
}

// tick moves the times of what goes on.
func (l *live) tick(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.width > 0 && !l.ended && !l.quiet {
		l.redrawLocked(now)
	}
}

// print lets write put whole lines where the block is, which moves down.
func (l *live) print(write func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.eraseLocked()
	err := write()
	if l.width > 0 && !l.ended && !l.quiet {
		l.redrawLocked(time.Now())
	}
	return err
}

// settle leaves the block as it is: what happens from now on gets lines of its own.
func (l *live) settle(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.width > 0 && !l.ended && !l.quiet {
		l.redrawLocked(now)
	}
	l.ended, l.drawn = true, 0
}

// settleNow is settle at this moment.
func (l *live) settleNow() { l.settle(time.Now()) }

// say prints a line that is no event.
func (l *live) say(format string, args ...any) {
	if l.quiet {
		return
	}
	l.print(func() error { //nolint:errcheck // nothing can be done where the terminal is gone
		_, err := fmt.Fprintf(l.out, format+"\n", args...)
		return err
	})
}

func (l *live) eraseLocked() {
	if l.drawn > 0 {
		fmt.Fprintf(l.out, "\x1b[%dA\r\x1b[J", l.drawn)
		l.drawn = 0
	}
}

func (l *live) redrawLocked(now time.Time) {
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	lines := l.times.block(l.name, now, l.color)
	text := strings.Join(lines, "\n")
	if l.drawn > 0 && text == l.last {
		return
	}
	l.last = text
	for _, line := range lines {
		b.WriteString("\r\x1b[K" + clip(line, l.width) + "\n")
	}
	l.drawn = len(lines)
	io.WriteString(l.out, b.String()) //nolint:errcheck // nothing can be done where the terminal is gone
}

// describe says an event in a few words, or nothing where it is no news.
func (t *timeline) describe(e control.Event) string {
	if e.Kind == control.EventPhase {
		return phaseText(e.Phase)
	}
	if e.Kind == control.EventNetwork && e.Instance == "" {
		return e.Detail
	}
	if e.Kind == control.EventFailure || e.Instance == "" {
		return "" // told at the end, with all that belongs to it
	}
	l := t.line(e)
	took := l.stages()
	var text string
	switch e.Kind {
	case control.EventWaiting:
		text = "waiting for " + e.Detail
		if e.Detail == "" {
			return ""
		}
	case control.EventCreating:
		text = "starting"
	case control.EventStarted:
		text = "started" + after(" in ", took.create)
		if l.restarts > 0 {
			text = "started again"
		}
	case control.EventReady:
		text = "ready" + after(" after ", took.ready)
	case control.EventHealth:
		if text = e.Detail; l.ready == nil && text == "healthy" {
			return "" // ready says it
		}
	case control.EventHook:
		text = "hook " + e.Detail
	case control.EventOOM:
		text = "the kernel's OOM killer ended a process: it needs more memory than its limit"
	case control.EventStopping:
		text = "stopping"
	case control.EventExited:
		text = exitText(e.ExitCode)
		if e.Detail != "" {
			text += "; " + e.Detail
		}
	case control.EventRestart:
		text = "restarting" + spaced(e.Detail)
	case control.EventNetwork:
		text = e.Detail
	default:
		return ""
	}
	return fmt.Sprintf("%-*s %s", t.nameWidth(), e.Instance, text)
}

func phaseText(p control.Phase) string {
	switch p {
	case control.Running:
		return "all ready"
	case control.Stopping:
		return "stopping"
	}
	return ""
}

func exitText(code *int) string {
	if code == nil {
		return "ended"
	}
	return fmt.Sprintf("exited with code %d", *code)
}

// after is before and a time, or nothing where it is none to speak of.
func after(before string, d *time.Duration) string {
	if d == nil || *d < time.Millisecond {
		return ""
	}
	return before + shortDuration(*d)
}

func spaced(text string) string {
	if text == "" {
		return ""
	}
	return " " + text
}

// stateWidth fits the longest state that is usual.
const stateWidth = len("started, not ready yet")

// block is the lines for a terminal at now.
func (t *timeline) block(name string, now time.Time, color bool) []string {
	done := 0
	for _, l := range t.lines {
		if l.mark() == markDone {
			done++
		}
	}
	lines := []string{fmt.Sprintf("%s: %d of %d up %s", name, done, len(t.lines), shortDuration(t.since(now)))}
	width := t.nameWidth()
	for _, l := range t.lines {
		text, since := l.now()
		line := fmt.Sprintf(" %s %-*s  %-*s", paint(l.mark(), color), width, l.instance, stateWidth, text)
		if since != nil {
			line += " " + shortDuration(max(0, now.Sub(*since)))
		} else {
			line += " " + l.summary()
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// mark is one sign for how an instance is.
type mark string

const (
	markWaiting mark = " "
	markBusy    mark = "*"
	markDone    mark = "+"
	markFailed  mark = "!"
)

func (l *instanceLine) mark() mark {
	switch {
	case l.failure != "" || l.exitCode != nil && *l.exitCode != 0 && !l.stopping:
		return markFailed
	case l.ready != nil, l.ended != nil:
		return markDone
	case l.creating != nil:
		return markBusy
	}
	return markWaiting
}

// now says what goes on, and since when if it still does.
func (l *instanceLine) now() (string, *time.Time) {
	switch {
	case l.ended != nil && l.exitCode != nil && *l.exitCode == 0 && !l.stopping:
		return "done", nil
	case l.ended != nil:
		return exitText(l.exitCode), nil
	case l.stopping:
		return "stopping", nil
	case l.failure != "":
		return "failed: " + l.failure, nil
	case l.ready != nil && l.health == "unhealthy":
		return l.health, nil
	case l.ready != nil:
		return "ready", nil
	case l.started != nil:
		return "started, not ready yet", l.started
	case l.creating != nil:
		return "starting", l.creating
	case l.waiting != nil && l.waitsFor != "":
		return "waiting for " + l.waitsFor, nil
	}
	return "waiting", nil
}

// summary tells how long the stages took.
func (l *instanceLine) summary() string {
	s := l.stages()
	return strings.TrimPrefix(after(", started in ", s.create)+after(", ready after ", s.ready), ", ")
}

func (t *timeline) nameWidth() int {
	width := 0
	for _, l := range t.lines {
		width = max(width, len(l.instance))
	}
	return width
}

// paint colours a mark.
func paint(m mark, color bool) string {
	code := map[mark]string{markBusy: "33", markDone: "32", markFailed: "31"}[m]
	if !color || code == "" {
		return string(m)
	}
	return "\x1b[" + code + "m" + string(m) + "\x1b[0m"
}

// stamp is the time since the start before a line.
func stamp(d time.Duration) string { return fmt.Sprintf("%7.3fs", d.Seconds()) }

// shortDuration has three figures at most where that is enough.
func shortDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// clip shortens a line to the terminal's width. Escapes that colour count as
// nothing.
func clip(s string, width int) string {
	visible, escape := 0, false
	for i, r := range s {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			if visible++; visible >= width {
				return s[:i]
			}
		}
	}
	return s
}
