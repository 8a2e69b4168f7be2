package supervisor

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/logs"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/environment/probe"
)

// lastLines is how much of its output a failure tells.
const lastLines = 20

// outputs keeps what instances print.
type outputs struct {
	dir      string
	redactor *logs.Redactor
}

func newOutputs(h *environment.Handover, paths environment.Paths) *outputs {
	var secret [][]byte
	for _, s := range h.Plan.Secrets {
		if content, ok := h.Secret(s.Name); ok && s.Redact {
			secret = append(secret, content)
		}
	}
	return &outputs{dir: paths.Logs, redactor: logs.NewRedactor(secret...)}
}

// output is what one instance prints, over all its restarts.
type output struct {
	*logs.Writer
	stdout, stderr io.Writer
	redactor       *logs.Redactor
	readiness      atomic.Pointer[probe.Readiness] // of the present container; may be nil
	lostBefore     uint64                          // lines of which newlyLost has told
}

func (o *outputs) open(instance string, limits plan.Logs) *output {
	out := &output{redactor: o.redactor}
	out.Writer = logs.New(o.dir, instance, logs.Options{
		MaxSize: limits.MaxSize, MaxFiles: limits.MaxFiles, Discard: limits.None, Redactor: o.redactor, OnLine: out.line,
	})
	out.stdout, out.stderr = out.Stdout(), out.Stderr()
	return out
}

// line gives a line to the probes that wait for one.
func (o *output) line(_ logs.Stream, line []byte) {
	if r := o.readiness.Load(); r != nil {
		r.Line(line)
	}
}

// follow says whose probes get the lines from now on; nil for nobody's.
func (o *output) follow(r *probe.Readiness) {
	if r == nil {
		o.Flush() // the container has ended
	}
	o.readiness.Store(r)
}

// newlyLost says how many lines could not be stored since it was last asked, "" if
// all were. The log itself tells only when the disk has room again. It is for the
// goroutine that owns the instance.
func (o *output) newlyLost() string {
	lost := o.Lost()
	n := lost - o.lostBefore
	o.lostBefore = lost
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d lines of its output could not be stored; is the disk full?", n)
}

func (o *output) tail() []string { return o.Tail(lastLines) }

func (o *output) redact(text string) string { return o.redactor.String(text) }
