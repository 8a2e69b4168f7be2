package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/environment/probe"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// run is one container of an instance, from its start to its end.
type run struct {
	*instance
	running   *runtime.Running
	readiness *probe.Readiness
	notify    *probe.Notify // nil without a probe of that kind
	tasks     *group        // probes and the health check
	probed    chan error    // how the probes ended, once
	checked   chan probe.HealthStatus
	probesMet bool
	number    int // of this start, from 1
}

// end is why a container ended.
type end int

const (
	endByItself end = iota
	endStop         // the environment stops
	endRestart      // something that the service depends on was restarted
	endFailure      // it did not come up, and the environment goes down with it
)

// start starts a container. Nothing of it is left if that fails.
func (i *instance) start(ctx context.Context) (_ *run, retErr error) {
	r := &run{instance: i, tasks: newGroup(), probed: make(chan error, 1), checked: make(chan probe.HealthStatus)}
	defer func() {
		if retErr != nil {
			r.tasks.end()
			i.env.network.withdraw(i)
			retErr = errors.Join(retErr, r.closeNotify())
		}
	}()
	release, err := i.env.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if r.readiness, err = probe.New(i.service.Ready); err != nil {
		return nil, at(stageReady, err)
	}
	opts, err := i.sandbox.options()
	if err != nil {
		return nil, at(stageCreate, err)
	}
	if err := r.openNotify(opts); err != nil {
		return nil, at(stageReady, err)
	}
	// A program may look for itself.
	if err := i.env.network.announce(i); err != nil {
		return nil, at(stageCreate, err)
	}
	i.output.follow(r.readiness)
	// Only until the program runs: after that, a stop waits for what depends on it.
	starting, cancel := context.WithCancel(context.Background())
	detach := context.AfterFunc(ctx, cancel)
	r.running, err = i.env.runtime.Start(starting, *opts)
	if !detach() {
		// The stop came first. The container may run all the same.
		r.running.Stop(syscall.SIGKILL, 0)
		<-r.running.Ended()
		err = errStopping
	}
	if err == nil && r.running.Container() == nil {
		err = errStopping
	}
	if err != nil {
		cancel()
		report, _ := r.running.Wait()
		i.reports = append(i.reports, report)
		if !errors.Is(err, errStopping) {
			err = at(stageStart, err)
		}
		return nil, err
	}
	context.AfterFunc(r.tasks.ctx, cancel)
	i.change(func() {
		i.starts++
		r.number = i.starts
		i.running, i.startedAt = r.running, time.Now()
		i.exitCode = nil
		i.setState(control.Up)
		i.publish(control.Event{Kind: control.EventStarted})
	})
	return r, nil
}

// openNotify gives the container a socket for sd_notify(3) where a probe waits for
// it.
func (r *run) openNotify(opts *runtime.RunOptions) (err error) {
	for _, p := range r.service.Ready {
		if p.Kind == plan.ProbeNotify && r.notify == nil {
			// By the descriptor: an address has room for 107 bytes only.
			path := fmt.Sprintf("/proc/self/fd/%d/%s", r.env.notifyDir.Fd(), r.plan.Name)
			if r.notify, err = probe.ListenNotify(path); err != nil {
				return err
			}
			opts.NotifySocket = path
		}
	}
	return nil
}

func (r *run) closeNotify() error {
	if r.notify == nil {
		return nil
	}
	return r.notify.Close()
}

// attend stays with the container until its end. The error is why the instance did
// not come up; the container has ended then too, unless the environment is to keep
// what failed.
func (r *run) attend() (end, error) {
	if err := r.hooks(r.env.stopping, "post_start", r.service.PostStart); err != nil {
		r.kill()
		if r.isStopping() {
			return endStop, nil
		}
		return endFailure, at(stageHook, err)
	}
	r.change(func() { r.everUp = true })
	r.probe()
	seen := r.dependencyStarts()
	stopping := r.env.stopping.Done()
	for {
		r.judgeReady()
		restarted := false
		changed := r.env.next(func() { restarted = r.dependencyRestarted(seen) })
		if restarted {
			r.stopNow(r.service.StopGrace)
			return endRestart, nil
		}
		select {
		case <-r.running.Ended():
			return endByItself, nil
		case err := <-r.probed:
			if err == nil {
				r.probesMet = true
			} else if !r.isStopping() {
				r.notReady(at(stageReady, err))
			}
		case status := <-r.checked:
			r.healthChanged(status)
		case <-changed:
		case <-stopping:
			r.stopInTurn()
			return endStop, nil
		}
	}
}

func (r *run) isStopping() bool { return r.env.stopping.Err() != nil }

// probe begins to look whether the container is ready and healthy.
func (r *run) probe() {
	target := probe.Target{
		Address: r.endpoint.address, Dial: r.dial,
		DialInside: r.endpoint.namespace.DialContext,
		Listening:  func(port uint16) (bool, error) { return r.endpoint.namespace.Listening("tcp", port) },
		Started:    r.startedAt,
	}
	if r.notify != nil {
		target.Notified = r.notify.Ready()
	}
	if len(r.service.Ready) == 0 {
		r.probesMet = true
	} else {
		r.tasks.all.Go(func() { r.probed <- r.readiness.Wait(r.tasks.ctx, target) })
	}
	if r.check == nil {
		return
	}
	r.change(func() { r.health = healthStarting })
	check := probe.NewHealth(*r.check, r.execute, func(status probe.HealthStatus) {
		select {
		case r.checked <- status:
		case <-r.tasks.ctx.Done():
		}
	})
	r.tasks.all.Go(func() { check.Run(r.tasks.ctx) })
}

// healthChanged takes a change of health. A failure is told before the state: what
// depends on the service fails by the state, and is not what is to be told.
func (r *run) healthChanged(status probe.HealthStatus) {
	detail := string(status.State)
	if status.State == probe.HealthUnhealthy && !r.hasBeenReady() && !r.isStopping() {
		r.notReady(at(stageHealth, errors.New(r.explainHealth(status))))
	}
	r.change(func() { r.health = detail })
	r.publish(control.Event{Kind: control.EventHealth, Detail: detail})
}

func (r *run) explainHealth(status probe.HealthStatus) string {
	why := fmt.Sprintf("it is unhealthy after %d checks", status.Failures)
	if status.Last == nil {
		return why
	}
	if status.Last.Error != "" {
		why += ": " + status.Last.Error
	} else {
		why += fmt.Sprintf(": the last exited with code %d", status.Last.ExitCode)
	}
	if text := strings.TrimSpace(r.output.redact(status.Last.Output)); text != "" {
		why += ": " + text
	}
	return why
}

func (r *run) hasBeenReady() (ready bool) {
	r.env.look(func() { ready = r.everReady })
	return ready
}

// judgeReady notes when the container has become ready.
func (r *run) judgeReady() {
	now := false
	r.env.look(func() {
		healthy := r.check == nil || r.health == string(probe.HealthHealthy)
		now = r.probesMet && healthy && !r.ready
	})
	if !now {
		return
	}
	r.change(func() {
		r.ready, r.everReady = true, true
		r.publish(control.Event{Kind: control.EventReady})
	})
}

// notReady takes the failure of a probe or of the first health check. While the
// environment starts it is a failure of the service; the container goes on where it
// is to be looked at, or when the environment was ready before.
func (r *run) notReady(err error) {
	starting := false
	r.env.look(func() { starting = r.env.status.Phase == control.Starting })
	if !starting {
		r.env.log.Warn("a service that was started again is not ready", "instance", r.plan.Name, "error", err)
		return
	}
	// Told before the environment, if it goes down for this, stops the container.
	r.fail(err)
}

// dependencyStarts returns how often each dependency that restarts the service has
// been started.
func (r *run) dependencyStarts() map[string]int {
	seen := map[string]int{}
	r.env.look(func() {
		for _, d := range r.service.DependsOn {
			for _, other := range r.env.services[d.Service] {
				if d.Restart {
					seen[other.plan.Name] = other.starts
				}
			}
		}
	})
	return seen
}

// dependencyRestarted is for the holder of the board's lock.
func (r *run) dependencyRestarted(seen map[string]int) bool {
	for _, d := range r.service.DependsOn {
		for _, other := range r.env.services[d.Service] {
			if d.Restart && other.starts > seen[other.plan.Name] && (other.ready || d.Condition == plan.Started && other.running != nil) {
				return true
			}
		}
	}
	return false
}

// stopInTurn stops the container when nothing needs it any more.
func (r *run) stopInTurn() {
	// The container's own end ends the wait, and so does a stop that must not take time.
	waiting, cancel := context.WithCancel(r.env.hurrying)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-r.running.Ended():
			cancel()
		case <-waiting.Done():
		}
	}()
	r.awaitDependents(waiting) //nolint:errcheck // however it ended
	cancel()
	<-over
	grace := r.service.StopGrace
	r.env.look(func() {
		if r.env.order.grace != nil {
			grace = *r.env.order.grace
		}
	})
	r.stopNow(grace)
}

// stopNow stops the container, with its pre_stop hooks, and waits for its end.
func (r *run) stopNow(grace time.Duration) {
	select {
	case <-r.running.Ended():
		return
	default:
	}
	r.enterState(control.Ending, control.Event{Kind: control.EventStopping})
	deadline := time.Now().Add(grace)
	ctx, cancel := context.WithDeadline(r.env.hurrying, deadline)
	defer cancel()
	if err := r.hooks(ctx, "pre_stop", r.service.PreStop); err != nil {
		r.env.log.Warn("a pre_stop hook failed", "instance", r.plan.Name, "error", err)
	}
	r.running.Stop(r.signal, time.Until(deadline))
	select {
	case <-r.running.Ended():
	case <-r.env.hurrying.Done():
		r.kill()
	}
}

// kill ends the container without asking.
func (r *run) kill() {
	r.running.Stop(syscall.SIGKILL, 0)
	<-r.running.Ended()
}

// ended takes a container that has ended out of everything and returns its report.
func (i *instance) ended(r *run) *runtime.Report {
	i.env.network.withdraw(i)
	r.tasks.end()
	report, err := r.running.Wait()
	if err != nil {
		i.env.log.Warn("a container ended with an error", "instance", i.plan.Name, "error", err)
	}
	if err := r.closeNotify(); err != nil {
		i.env.log.Warn("cannot close the notification socket", "instance", i.plan.Name, "error", err)
	}
	i.output.follow(nil)
	i.reports = append(i.reports, report)
	code := report.ExitCode
	i.change(func() {
		i.running, i.ready, i.exitCode = nil, false, &code
		i.setState(control.Exited)
		if i.check != nil {
			i.health = healthStarting
		}
		if report.OOM.Kills != nil {
			i.oomKills += *report.OOM.Kills
		}
	})
	if report.OOM.Kills != nil && *report.OOM.Kills > 0 {
		i.publish(control.Event{Kind: control.EventOOM, Detail: fmt.Sprintf("%d", *report.OOM.Kills)})
	}
	i.publish(control.Event{Kind: control.EventExited, ExitCode: &code, Report: encodeReport(report), Detail: i.output.newlyLost()})
	if err := i.writeReport(); err != nil {
		i.env.log.Warn("cannot write report", "instance", i.plan.Name, "error", err)
	}
	return report
}
