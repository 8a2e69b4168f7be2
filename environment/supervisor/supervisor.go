package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	goruntime "runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// Main is what a process does that was launched to be PID 1 of an environment: it
// takes over what is handed to it and calls Run. Nothing but flags may come before.
func Main(ctx context.Context, log *slog.Logger) error {
	release, err := runtime.KeepFirstThread()
	if err != nil {
		return err
	}
	defer release()
	// Before it waits for anything: a Go program that is PID 1 ends at once by a signal
	// that it has not asked for.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)
	handover, err := environment.TakeOver()
	if err != nil {
		return err
	}
	return Run(ctx, handover, Options{Signals: signals, Log: log})
}

// Options are the surroundings of Run.
type Options struct {
	// Signals are those of the process. SIGTERM, SIGINT and SIGHUP stop the
	// environment; see Main.
	Signals <-chan os.Signal
	// Log gets what goes wrong and the environment survives. Nil discards.
	Log *slog.Logger
}

// Run carries out the handover and returns when the environment has ended, with
// nothing left but its logs, reports and volumes. The end of ctx stops the
// environment. The error tells what failed on our side: of setting up or of
// removing; a service that fails is none, it is told by the control socket.
//
// The process has called runtime.KeepFirstThread. It has to be PID 1 of a PID namespace, and its mount, network and IPC
// namespaces the environment's own. It takes over h's descriptors and never gives
// the lock back: that is held until the process ends.
func Run(ctx context.Context, h *environment.Handover, o Options) (retErr error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &supervisor{
		board: newBoard(), slots: make(chan struct{}, slotsPerCPU*goruntime.NumCPU()), handover: h, paths: h.Paths(), log: o.Log, signals: o.Signals,
		status: control.Status{Name: h.Plan.Name, Phase: control.Starting, StartedAt: time.Now()},
	}
	s.stopping, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	s.hurrying, s.hurry = context.WithCancel(context.WithoutCancel(ctx))
	defer s.hurry()
	s.addInstances()
	var undo cleanup.Stack
	defer func() { retErr = errors.Join(retErr, undo.Unwind()) }()
	// First, so that whoever launched us is told of what fails.
	if err := s.serve(&undo); err != nil {
		return err
	}
	defer s.publishPhase(control.Stopped)
	s.publishPhase(control.Starting)
	for _, step := range []func(*cleanup.Stack) error{s.enter, s.open, s.connect, s.publishPorts} {
		if err := step(&undo); err != nil {
			s.fail(&control.Failure{Stage: stageEnvironment, Error: err.Error()})
			return err
		}
	}
	return s.live(ctx)
}

// The stages of control.Failure.
const (
	stageEnvironment = "environment"
	stageImage       = "image"
	stageCreate      = "create"
	stageStart       = "start"
	stageReady       = "ready"
	stageHealth      = "health"
	stageHook        = "hook"
	stageExit        = "exit"
)

// supervisor is one call of Run.
type supervisor struct {
	*board
	handover *environment.Handover
	paths    environment.Paths
	log      *slog.Logger
	signals  <-chan os.Signal

	server    *control.Server
	runtime   *runtime.Runtime
	store     *store.Store
	cgroups   *cgroup.Host
	network   *wiring
	volumes   map[string]*volume
	notifyDir *os.File // of the sockets for sd_notify
	profiles  profiles
	logs      *outputs

	// slots bound how many containers are made at once; see slot.
	slots chan struct{}

	// instances are in the order of the plan; services has them by service. Neither
	// changes.
	instances []*instance
	services  map[string][]*instance

	// detached are commands that nobody waits for, but the end.
	detached sync.WaitGroup

	// stopping ends when the environment is to stop.
	stopping context.Context //nolint:containedctx // of the whole life, which Run is
	stop     context.CancelCauseFunc
	// hurrying ends when the stop is not to wait for anything any more.
	hurrying context.Context //nolint:containedctx // the same
	hurry    context.CancelFunc

	// guarded by board.mu:
	status control.Status
	order  *stopOrder // nil until the environment is to stop
}

// errStopping is why what waits or is being made is given up.
var errStopping = errors.New("the environment is being stopped")

// stopOrder is how the environment is to stop.
type stopOrder struct {
	reason string
	// grace takes the place of each service's own, unless nil.
	grace *time.Duration
}

// serve answers on the control socket from now on.
func (s *supervisor) serve(undo *cleanup.Stack) error {
	listener, err := control.Inherit(s.handover.Descriptors.Control)
	if err != nil {
		return err
	}
	s.server = control.NewServer(s, s.log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.server.Serve(listener); err != nil {
			s.log.Warn("the control socket is not served any more", "error", err)
		}
	})
	undo.Push(func() error {
		err := s.server.Close()
		serving.Wait()
		return err
	})
	return nil
}

// open opens what containers are made from and kept in.
func (s *supervisor) open(undo *cleanup.Stack) (err error) {
	for _, dir := range []string{s.paths.Bundles, s.paths.Volumes, s.paths.Logs, s.paths.Reports} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory of environment: %w", err)
		}
	}
	if s.runtime, err = runtime.New(runtime.Config{Root: s.paths.Containers, Rootless: runtime.RootlessNo, Logger: s.log}); err != nil {
		return err
	}
	if s.store, err = store.Open(s.handover.Roots.Data); err != nil {
		return err
	}
	if s.cgroups, err = cgroup.Detect(); err != nil {
		return err
	}
	s.logs = newOutputs(s.handover, s.paths)
	s.volumes = s.newVolumes()
	return s.makeTmpfsVolumes(undo)
}

// live starts the instances and returns when the environment was stopped and all
// have ended.
func (s *supervisor) live(ctx context.Context) error {
	lifeline, closeLifeline := watchLifeline(s.handover.Descriptors.Lifeline)
	defer closeLifeline()
	var ttl <-chan time.Time
	if s.handover.Plan.TTL > 0 {
		timer := time.NewTimer(s.handover.Plan.TTL)
		defer timer.Stop()
		ttl = timer.C
		expires := s.status.StartedAt.Add(s.handover.Plan.TTL)
		s.update(func() { s.status.Expires = &expires })
	}
	ended := make(chan struct{})
	var instances sync.WaitGroup
	for _, i := range s.instances {
		instances.Go(i.live)
	}
	go func() {
		instances.Wait()
		close(ended)
	}()
	tidy := time.NewTimer(tidyAfter)
	defer tidy.Stop()
	cancelled, allEnded := ctx.Done(), (<-chan struct{})(ended)
	for {
		var stopping bool
		changed := s.next(func() { stopping = s.order != nil })
		if stopping && allEnded == nil {
			s.detached.Wait()
			return s.removeErrors()
		}
		if !stopping {
			s.judge()
		}
		select {
		case <-changed:
		case <-allEnded:
			allEnded = nil
		case sig := <-s.signals:
			s.requestStop(stopOrder{reason: signalName(sig), grace: s.graceOfSignal()})
		case <-lifeline:
			lifeline = nil
			s.requestStop(stopOrder{reason: "parent-died"})
		case <-tidy.C:
			s.tidy(tidy)
		case <-ttl:
			s.requestStop(stopOrder{reason: "ttl"})
		case <-cancelled:
			cancelled = nil
			s.requestStop(stopOrder{reason: "cancelled"})
		}
	}
}

// slotsPerCPU: making a container waits for the kernel about as long as it computes.
const slotsPerCPU = 2

// slot waits until another container may be made. More at once than there are CPUs to
// make them would only be ready later, all of them, and take more memory, which stays.
func (s *supervisor) slot(ctx context.Context) (release func(), _ error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, errStopping
	}
}

// tidyAfter is how long after the start, or after the last look, memory is given
// back.
const tidyAfter = time.Second

// tidy gives memory back that starting took, once, when everything is up: from then
// on the process does next to nothing, for as long as the environment lives.
func (s *supervisor) tidy(again *time.Timer) {
	starting := false
	s.look(func() { starting = s.status.Phase == control.Starting })
	if starting {
		again.Reset(tidyAfter)
		return
	}
	if err := giveBackMemory(); err != nil {
		s.log.Debug("give memory back", "error", err)
	}
}

// graceOfSignal: whoever signals a second time does not want to wait.
func (s *supervisor) graceOfSignal() (grace *time.Duration) {
	s.look(func() {
		if s.order != nil {
			grace = new(time.Duration)
		}
	})
	return grace
}

func signalName(sig os.Signal) string {
	if number, ok := sig.(unix.Signal); ok {
		return unix.SignalName(number)
	}
	return sig.String()
}

// watchLifeline returns what is closed when the other end of a socket is. stop
// ends the watch and waits for it.
func watchLifeline(fd int) (died <-chan struct{}, stop func()) {
	if fd == 0 {
		return nil, func() {}
	}
	unix.SetNonblock(fd, true) //nolint:errcheck // a descriptor that is none reads as an end
	file := os.NewFile(uintptr(fd), "lifeline")
	end, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		buffer := make([]byte, 64)
		for {
			if _, err := file.Read(buffer); err != nil {
				if !errors.Is(err, os.ErrClosed) {
					close(end)
				}
				return
			}
		}
	}()
	return end, func() {
		file.Close()
		<-over
	}
}

// judge looks whether the start has come to its end.
func (s *supervisor) judge() {
	var failure *control.Failure
	complete, derived := true, false
	phase := control.Starting
	s.look(func() {
		phase = s.status.Phase
		for _, i := range s.instances {
			// What failed first is told, and not what failed with it.
			if i.failure != nil && i.matters() && (failure == nil || derived && !i.derived) {
				failure, derived = i.failure, i.derived
			}
			complete = complete && (i.arrived() || i.over && !i.matters())
		}
	})
	switch {
	case phase != control.Starting:
	case failure != nil:
		s.fail(failure)
		if !s.handover.KeepOnFailure {
			s.requestStop(stopOrder{reason: "failed"})
		}
	case complete:
		now := time.Now()
		s.update(func() { s.status.ReadyAt = &now })
		s.publishPhase(control.Running)
	}
}

// fail tells that the start has failed.
func (s *supervisor) fail(failure *control.Failure) {
	s.update(func() { s.status.Failure = failure })
	s.publish(control.Event{Kind: control.EventFailure, Service: failure.Service, Failure: failure})
	s.publishPhase(control.Failed)
}

// requestStop begins to stop the environment, or makes a stop that has begun
// quicker.
func (s *supervisor) requestStop(order stopOrder) {
	first := false
	s.update(func() {
		switch {
		case s.order == nil:
			first = true
			s.order = &order
		case order.grace == nil:
			// Nothing that is not under way already.
		case s.order.grace == nil || *order.grace < *s.order.grace:
			s.order = &stopOrder{reason: s.order.reason, grace: order.grace}
		}
	})
	if order.grace != nil && *order.grace <= 0 {
		s.hurry()
	}
	if first {
		s.log.Info("stopping", "reason", order.reason)
		s.publishDetailedPhase(control.Stopping, order.reason)
		s.stop(errStopping)
	}
}

func (s *supervisor) publishPhase(phase control.Phase) { s.publishDetailedPhase(phase, "") }

func (s *supervisor) publishDetailedPhase(phase control.Phase, detail string) {
	s.update(func() { s.status.Phase = phase })
	s.publish(control.Event{Kind: control.EventPhase, Phase: phase, Detail: detail})
}

func (s *supervisor) publish(e control.Event) { s.server.Publish(e) }

// removeErrors are those of instances that could not be removed altogether.
func (s *supervisor) removeErrors() error {
	var errs []error
	for _, i := range s.instances {
		errs = append(errs, i.removeErr)
	}
	return errors.Join(errs...)
}
