package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	goruntime "runtime"
	"slices"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// RunOptions says what to run and how to end it.
type RunOptions struct {
	CreateOptions

	// WallTime and CPUTime end the container when they are used up; 0 is no
	// limit. CPU time is that of all its processes from the moment on at which the
	// program is let run.
	WallTime time.Duration
	CPUTime  time.Duration
	// StopTimeout is how long a container that was told to stop may take
	// before it is killed; 0 means DefaultStopTimeout.
	StopTimeout time.Duration
	// Signals are passed on to the program. SIGTERM, SIGINT and the end of
	// Run's context also start the StopTimeout; SIGWINCH resizes its terminal.
	Signals <-chan os.Signal
	// Subreaper reaps the orphans of a container that has no PID namespace of
	// its own. It takes every child of the calling process that is not a
	// container's first, so it is for a process that has no others.
	Subreaper bool
	// Keep leaves the stopped container and its state for Delete.
	Keep bool
	// CallerIsInit says that the calling process is PID 1 of a PID namespace, with
	// which the kernel ends the container too. So it needs no parent death signal,
	// keeps no thread, and is waited for without one: it is for a process that
	// supervises many. The caller's /proc is that of its namespace.
	CallerIsInit bool

	// WithoutFigures leaves the report's figures and effective limits out, which
	// saves some forty reads of small files. The reason and the exit are told all
	// the same.
	WithoutFigures bool

	// LoadTime is reported as the first phase.
	LoadTime time.Duration
	// Missing are the limits that the caller dropped because this host cannot
	// enforce them; they are reported.
	Missing []cgroup.Missing
}

// DefaultStopTimeout is docker's.
const DefaultStopTimeout = 10 * time.Second

// Run makes a container, lets its program run, waits for it and removes
// everything. The report is never nil: it tells of a failed start too. The
// error tells what failed on our side; a program that fails is no error.
//
// The container is tied to the calling process: it dies by SIGKILL when that
// does, and GC removes what is left then. A hostile program can undo this by
// prctl(PR_SET_PDEATHSIG), and a set-user-ID program loses it on exec; with
// CreateOptions.Init it cannot, as PID 1 then is ours.
func (r *Runtime) Run(ctx context.Context, opts RunOptions) (*Report, error) {
	s := r.newSupervisor(&opts)
	return s.report, s.run(ctx)
}

func (r *Runtime) newSupervisor(opts *RunOptions) *supervisor {
	if opts.StopTimeout == 0 {
		opts.StopTimeout = DefaultStopTimeout
	}
	opts.callerIsInit = opts.CallerIsInit
	return &supervisor{runtime: r, opts: opts, report: newReport(opts.ID, opts.Bundle), log: r.log.With("id", opts.ID)}
}

// supervisor is one call of Run or Start. It keeps its goroutine locked to the
// thread that forks the container for as long as that lives, unless the caller is
// an init: the kernel sends the parent death signal when the forking *thread*
// ends, and a thread that is not locked may be taken, and ended, by anybody else's
// locked goroutine.
type supervisor struct {
	runtime *Runtime
	opts    *RunOptions
	report  *Report
	log     *slog.Logger

	container *Container
	group     *cgroup.Group  // nil for a container without one
	oomLog    *cgroup.OOMLog // nil if the kernel log is not to be had
	scope     *scopeRest     // nil unless systemd made the cgroup
	early     []os.Signal    // came before the program ran
	cause     Reason         // what we ended the container for; "" if we did not
	runningAt time.Time
	cpuBefore time.Duration // CPU time used before the program ran, where that matters

	// Only for Start:
	running chan<- struct{}    // closed when the program runs
	stops   <-chan stopRequest // of Running.Stop
}

func (s *supervisor) run(ctx context.Context) error {
	err := s.runOnce(ctx)
	if err != nil {
		s.report.setError(err)
	}
	return err
}

func (s *supervisor) runOnce(ctx context.Context) error {
	s.report.Phases.LoadSeconds = optionalSeconds(s.opts.LoadTime)
	s.reportMissing()
	s.openOOMLog()
	defer s.closeOOMLog()

	if !s.opts.CallerIsInit {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
	}
	guard := &startGuard{signals: s.opts.Signals}
	if err := s.create(ctx, guard); err != nil {
		if guard.stopped != 0 {
			s.reportStopped(guard.stopped)
			s.log.Debug("stopped while it was being created", "error", err)
			return nil
		}
		return err
	}
	if guard.stopped != 0 {
		s.reportStopped(guard.stopped)
		return s.remove()
	}
	s.early = guard.early
	status, err := s.supervise(ctx)
	if stopped := s.container.hooks.stopped; stopped != 0 {
		s.reportStopped(stopped)
		s.log.Debug("stopped while its poststart hooks ran", "error", err)
		return s.remove()
	}
	if err != nil {
		return errors.Join(err, s.remove())
	}
	s.report.setExit(status)
	s.collect(status)
	return s.remove()
}

func (s *supervisor) create(ctx context.Context, guard *startGuard) error {
	began := time.Now()
	opts := s.opts.CreateOptions
	opts.hooks, guard.cancel = context.WithCancel(ctx)
	defer guard.cancel()
	opts.prepared = func(c *Container) { guard.watch(ctx, c) }
	container, err := s.runtime.create(&opts, supervised)
	guard.end()
	if err != nil {
		return err
	}
	s.container = container
	container.hooks = hookWatch{ctx: ctx, signals: s.opts.Signals}
	s.report.Phases.CreateSeconds = seconds(time.Since(began))
	return nil
}

// reportStopped tells of a container that was stopped before its program ran.
func (s *supervisor) reportStopped(sig syscall.Signal) {
	s.report.setExit(ExitStatus{Code: 128 + int(sig), Signal: sig})
	s.report.Reason = ReasonKilled
}

type exit struct {
	status ExitStatus
	err    error
}

// supervise lets the program run and returns when it has ended.
func (s *supervisor) supervise(ctx context.Context) (ExitStatus, error) {
	group, err := s.container.openGroup()
	if err != nil {
		return ExitStatus{}, err
	}
	s.group = group
	if s.opts.CPUTime > 0 && group == nil {
		return ExitStatus{}, fmt.Errorf("cannot hold the limit on CPU time: %w; use another --cgroup-manager, or leave it out", ErrNoCgroup)
	}
	if s.opts.CPUTime > 0 {
		// What the start costs is not the program's. It only waits now.
		if s.cpuBefore, err = group.CPUUsage(); err != nil {
			return ExitStatus{}, fmt.Errorf("cannot hold the limit on CPU time: %w; %s, or leave it out", err, adviceDelegate)
		}
	}
	endWatch, err := s.watchScope()
	if err != nil {
		return ExitStatus{}, fmt.Errorf("watch cgroup of container %q: %w", s.container.id, err)
	}
	defer endWatch()
	if s.opts.Subreaper && !s.container.hasOwnPIDNamespace() {
		stop, err := reapOrphans(s.container)
		if err != nil {
			return ExitStatus{}, err
		}
		defer stop()
	}

	notifier, err := s.container.openNotifier(s.opts.NotifySocket)
	if err != nil {
		return ExitStatus{}, err
	}
	if notifier != nil {
		notifier.serve()
		defer notifier.stop()
	}

	s.runningAt = time.Now()
	if s.opts.restore == nil {
		if err := s.letRun(); err != nil {
			return ExitStatus{}, err
		}
		s.report.Phases.StartSeconds = seconds(time.Since(s.runningAt))
	}
	s.report.StartedAt = &s.runningAt
	if s.running != nil {
		close(s.running)
	}
	// The channel has room, so that the goroutine ends also if watch does first.
	exited := make(chan exit, 1)
	go func() {
		status, err := s.container.init.wait()
		exited <- exit{status, err}
	}()
	status, err := s.watch(ctx, exited)
	s.report.WallSeconds = seconds(time.Since(s.runningAt))
	return status, err
}

// letRun lets the program run, and runs the hooks that follow.
func (s *supervisor) letRun() error {
	if err := s.container.lc.Exec(); err != nil {
		return fmt.Errorf("container %q: %w", s.container.id, s.explainExec(err))
	}
	if err := s.container.runPoststart(&s.container.hooks); err != nil {
		// Also where the stopped container is kept.
		ctx, cancel := removalContext()
		defer cancel()
		return errors.Join(fmt.Errorf("container %q: %w", s.container.id, err), s.container.killAndWait(ctx))
	}
	return nil
}

// explainExec: a first process that is gone before it could be let run was,
// as a rule, too big for its memory limit.
func (s *supervisor) explainExec(err error) error {
	if s.group == nil {
		return err
	}
	stats, statsErr := s.group.Stats()
	if statsErr == nil && stats.OOM.Kills != nil && *stats.OOM.Kills > 0 {
		return explained{"cannot start: " + adviceMemory + " (the OOM killer ended its first process)", err}
	}
	return err
}

// watch is the event loop of a running container.
func (s *supervisor) watch(ctx context.Context, exited <-chan exit) (ExitStatus, error) {
	wall, cpu, grace := stoppedTimer(), stoppedTimer(), stoppedTimer()
	defer wall.Stop()
	defer cpu.Stop()
	defer grace.Stop()
	if s.opts.WallTime > 0 {
		wall.Reset(s.opts.WallTime)
	}
	if s.opts.CPUTime > 0 {
		cpu.Reset(s.nextCPUCheck(0))
	}
	for _, sig := range append(s.early, s.container.hooks.early...) {
		s.forward(sig)
	}
	cancelled := ctx.Done()
	for {
		select {
		case e := <-exited:
			return e.status, e.err
		case sig := <-s.opts.Signals:
			if s.forward(sig) {
				grace.Reset(s.opts.StopTimeout)
			}
		case request := <-s.stops:
			s.carryOut(request, grace)
		case <-cancelled:
			cancelled = nil
			if s.stop(syscall.SIGTERM) {
				grace.Reset(s.opts.StopTimeout)
			}
		case <-wall.C:
			s.end(ReasonWallTime)
		case <-cpu.C:
			if used, err := s.group.CPUUsage(); errors.Is(err, cgroup.ErrRemoved) {
				// By systemd, which only removes an empty group: the end is about to be told.
				s.log.Debug("nothing uses CPU time any more", "error", err)
			} else if err != nil {
				s.log.Warn("cannot read CPU time; ending the container, since its limit cannot be held", "error", err)
				s.end(ReasonCPUTime)
			} else if used -= s.cpuBefore; used >= s.opts.CPUTime {
				s.end(ReasonCPUTime)
			} else {
				cpu.Reset(s.nextCPUCheck(used))
			}
		case <-grace.C:
			s.log.Debug("the container did not stop in time")
			s.end(ReasonKilled)
		}
	}
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// nextCPUCheck is the earliest moment at which the limit can be reached if
// every CPU works for the container, but no busier than every 10 ms.
func (s *supervisor) nextCPUCheck(used time.Duration) time.Duration {
	return max(10*time.Millisecond, (s.opts.CPUTime-used)/time.Duration(goruntime.NumCPU()))
}

// forward passes a signal on, and says whether it started a stop.
func (s *supervisor) forward(sig os.Signal) (stopping bool) {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return false
	}
	if number == syscall.SIGTERM || number == syscall.SIGINT {
		return s.stop(number)
	}
	s.container.init.pass(number, s.log)
	return false
}

// stop asks the program to end. Before its execve there is none that could be
// asked, only libcontainer's init. The kernel drops a signal to a PID 1 that has
// not asked for it; then there is nothing to wait for, and the program meets
// the signal's default action, as it would outside.
func (s *supervisor) stop(sig syscall.Signal) (stopping bool) {
	if s.cause != "" {
		s.signal(sig)
		return false
	}
	// First, since the handlers of libcontainer's init are not the program's.
	begun := s.container.init.hasBegun()
	deaf := !s.opts.Init && s.container.hasOwnPIDNamespace() && !s.container.handles(sig)
	if deaf || !begun {
		s.log.Debug("the program does not handle the signal; killing it", "signal", sig)
		s.end(ReasonKilled)
		return false
	}
	s.cause = ReasonKilled
	s.signal(sig)
	return true
}

func (s *supervisor) signal(sig syscall.Signal) {
	if err := s.container.Kill(sig); err != nil && !errors.Is(err, ErrNotRunning) && !errors.Is(err, os.ErrProcessDone) {
		s.log.Warn("cannot pass on signal", "signal", sig, "error", err)
	}
}

// end kills every process of the container. The first cause is the one that
// counts.
func (s *supervisor) end(cause Reason) {
	if s.cause == "" {
		s.cause = cause
	}
	s.signal(syscall.SIGKILL)
}

// collect reads the cgroup before it goes.
func (s *supervisor) collect(status ExitStatus) {
	s.report.Limits.WallTimeSeconds = optionalSeconds(s.opts.WallTime)
	s.report.Limits.CPUTimeSeconds = optionalSeconds(s.opts.CPUTime)
	if s.group == nil || s.opts.WithoutFigures && status.Signal != syscall.SIGKILL {
		s.report.Reason = endReason(s.cause, status, false)
		return
	}
	stats, err := s.group.Stats()
	switch {
	case errors.Is(err, cgroup.ErrRemoved):
		// An ordinary user without a delegated cgroup never had one.
		s.log.Debug("there is no cgroup to report of", "error", err)
	case err != nil:
		s.log.Warn("cannot read all figures of the cgroup", "error", err)
	}
	if stats != nil {
		s.report.Stats = *stats
	}
	s.report.Limits.EffectiveLimits = s.group.Effective()
	s.reportScope()
	s.report.OOM.Victims = s.victims()
	s.report.Reason = endReason(s.cause, status, s.mainProcessOOM())
}

// victims returns nil if the kernel does not tell, an empty list if there are
// none. A list may be short of kills that cannot be told from a neighbour's.
func (s *supervisor) victims() []cgroup.Victim {
	kills := s.report.OOM.Kills
	if kills != nil && *kills == 0 {
		return []cgroup.Victim{}
	}
	if s.oomLog == nil {
		return nil
	}
	victims, err := s.oomLog.Victims(s.group, s.isMainProcess)
	if err != nil {
		s.log.Debug("cannot read the kernel log", "error", err)
		return nil
	}
	if kills != nil && len(victims) == 0 {
		return nil
	}
	return victims
}

// mainProcessOOM reports whether the OOM killer took the main process. Where that
// cannot be seen, any kill in the group counts, since the main process died by
// SIGKILL and nobody of ours sent it: in a PID namespace that is not the host's,
// without the kernel's log or with less of it than there were kills, and below a
// PID 1 of nsinit's where the program ended before it could tell of itself.
func (s *supervisor) mainProcessOOM() bool {
	kills := s.report.OOM.Kills
	if kills == nil || *kills == 0 {
		return false
	}
	victims := s.report.OOM.Victims
	unknown := s.opts.Init && s.container.init.belowPID1 == 0
	if unknown || len(victims) < int(*kills) || !s.oomLog.SamePIDs() {
		return true
	}
	return slices.ContainsFunc(victims, func(v cgroup.Victim) bool { return s.isMainProcess(v.Pid) })
}

// isMainProcess takes a process ID from the kernel's log.
func (s *supervisor) isMainProcess(pid int) bool {
	return s.container.init.isMain(pid) && s.oomLog.SamePIDs()
}

func (s *supervisor) openOOMLog() {
	log, err := cgroup.OpenOOMLog()
	if err != nil {
		s.log.Debug("OOM victims will be unknown", "error", err)
		return
	}
	s.oomLog = log
}

func (s *supervisor) closeOOMLog() {
	if s.oomLog == nil {
		return
	}
	if err := s.oomLog.Close(); err != nil {
		s.log.Debug("cannot close the kernel log", "error", err)
	}
}

func (s *supervisor) reportMissing() {
	for _, m := range s.opts.Missing {
		if !slices.Contains(s.report.MissingControllers, m.Controller) {
			s.report.MissingControllers = append(s.report.MissingControllers, m.Controller)
		}
		s.report.DroppedLimits = append(s.report.DroppedLimits, m.Limits...)
	}
}

// remove ends the container's life on disk, then waits for its last output.
func (s *supervisor) remove() error {
	// What is removed after the end of the caller's context has its hooks all the same.
	s.container.hooks.ctx = nil
	began := time.Now()
	err := s.removeState()
	s.report.Phases.RemoveSeconds = seconds(time.Since(began))
	return errors.Join(err, s.container.init.streams.drain())
}

func (s *supervisor) removeState() error {
	c := s.container
	if s.opts.Keep {
		rec, err := s.runtime.readRecord(c.id)
		if err != nil || rec == nil {
			return errors.Join(fmt.Errorf("cannot keep container %q: its owner record is gone", c.id), err, c.releaseLock())
		}
		rec.Detached = true
		return errors.Join(s.runtime.writeRecord(c.id, *rec), c.releaseLock())
	}
	return errors.Join(c.killAndDestroy(), c.removeLock())
}
