package probe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// defaultTimeout is that of a probe without one.
const defaultTimeout = time.Minute

// DialFunc connects as net.Dialer.DialContext does: network is tcp.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Target is the instance that is looked at.
type Target struct {
	// Address is the instance's own in the environment's network, where probes
	// without a host connect to. An instance without any is asked on its loopback.
	Address netip.Addr
	// Dial connects from the environment's network. The host of its address is an
	// IP address, or the name that the probe has.
	Dial DialFunc
	// DialInside connects from inside the instance's network namespace.
	DialInside DialFunc
	// Listening tells whether a TCP socket listens on a port of the instance's
	// network namespace, on whatever address.
	Listening func(port uint16) (bool, error)
	// Notified is closed when the instance has said READY=1 (Notify.Ready).
	Notified <-chan struct{}
	// Started is when the container was started, from which timeouts count; the
	// zero time is that of the call.
	Started time.Time
}

// Readiness is the conjunction of a service's probes for one start of one
// instance. It is safe for concurrent use; a restart needs a new one.
type Readiness struct {
	probes []plan.Probe
	output []*output // of each probe; nil but for those of kind log
}

// New checks probes and prepares them. It has to be called before the
// container starts, so that Line gets the first line of its output. Errors
// match ErrInvalid.
func New(probes []plan.Probe) (*Readiness, error) {
	r := &Readiness{probes: probes, output: make([]*output, len(probes))}
	for i, p := range probes {
		if err := check(p); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, p.Kind, err)
		}
		if p.Kind == plan.ProbeLog {
			o, err := newOutput(p)
			if err != nil {
				return nil, fmt.Errorf("%w: log: %w", ErrInvalid, err)
			}
			r.output[i] = o
		}
	}
	return r, nil
}

// Check tells what is wrong with a probe, or nothing. Errors match ErrInvalid.
func Check(p plan.Probe) error {
	_, err := New([]plan.Probe{p})
	return err
}

// Line takes one line of the instance's output, without its end; it does not
// keep it. It costs nothing where no probe waits for a line.
func (r *Readiness) Line(line []byte) {
	for _, o := range r.output {
		if o != nil {
			o.line(line)
		}
	}
}

// Wait returns when all probes have succeeded, with an error that matches
// ErrTimeout when the time of one is over, or with ctx's cause.
func (r *Readiness) Wait(ctx context.Context, target Target) error {
	if target.Started.IsZero() {
		target.Started = time.Now()
	}
	if len(r.probes) == 1 {
		return r.wait(ctx, target, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range r.probes {
		all.Go(func() {
			if err := r.wait(ctx, target, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// Wait waits for a single probe; see Readiness, which one of kind log needs.
func Wait(ctx context.Context, target Target, p plan.Probe) error {
	r, err := New([]plan.Probe{p})
	if err != nil {
		return err
	}
	return r.Wait(ctx, target)
}

// wait waits for one probe.
func (r *Readiness) wait(ctx context.Context, target Target, index int) error {
	p := r.probes[index]
	timeout := cmp.Or(p.Timeout, defaultTimeout)
	timed, cancel := context.WithDeadline(ctx, target.Started.Add(timeout))
	defer cancel()

	var seen sighting
	var ready bool
	switch p.Kind {
	case plan.ProbeLog:
		ready = r.output[index].wait(timed, &seen)
	case plan.ProbeNotify:
		ready = waitNotified(timed, target.Notified, &seen)
	case plan.ProbeListen:
		ready = poll(timed, &seen, func(context.Context) string { return target.listening(p.Port) })
	case plan.ProbeTCP:
		ready = newConnector(target, p).wait(timed, &seen, greet)
	case plan.ProbeHTTP:
		ready = newConnector(target, p).wait(timed, &seen, newRequest(p).ask)
	case plan.ProbeGRPC:
		check := &healthClient{service: p.GRPCService}
		defer check.close()
		ready = newConnector(target, p).waitKept(timed, &seen, check)
	}
	switch {
	case ready:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("%s, and after %v %w; see its output, or raise the timeout of this %s probe",
			&seen, timeout, ErrTimeout, p.Kind)
	}
}

// listening says what is missing before port is listened on, or nothing.
func (t *Target) listening(port uint16) string {
	open, err := t.Listening(port)
	switch {
	case err != nil:
		return fmt.Sprintf("listening sockets cannot be read: %v", err)
	case !open:
		return fmt.Sprintf("nothing listens on port %d", port)
	default:
		return ""
	}
}

// waitNotified tells whether READY=1 came before ctx ended.
func waitNotified(ctx context.Context, notified <-chan struct{}, seen *sighting) bool {
	seen.note("no READY=1 came by sd_notify")
	select {
	case <-notified:
		return true
	case <-ctx.Done():
		return false
	}
}
