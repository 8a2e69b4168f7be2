package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// instance is one container and what it needs, over all its restarts. Its
// goroutine is live; others only read what the board guards.
type instance struct {
	env      *supervisor
	service  *plan.Service
	plan     *plan.Instance
	siblings []*instance // of the service, this one included

	// Of the goroutine alone, once made:
	endpoint  *endpoint
	sandbox   *sandbox
	check     *plan.Healthcheck // with what the image says; nil without one
	signal    unix.Signal       // that asks it to stop
	output    *output
	backoff   backoff
	reports   []*runtime.Report
	removeErr error // read when all have ended

	// guarded by board.mu:
	state      control.State
	since      time.Time
	running    *runtime.Running // nil unless its container runs
	startedAt  time.Time        // of the container that runs, or ran last
	starts     int              // how many containers there were that ran
	restarts   int
	preStarted bool // pre_start that is once for the service is done
	everUp     bool // a container has run, and its post_start is done
	ready      bool // of the present container
	everReady  bool
	health     string
	exitCode   *int
	oomKills   uint64
	over       bool // it has ended for good, or will never run
	failure    *control.Failure
	derived    bool // failure is of something that it depends on
	command    []string
	// networkLost are networks that it does not reach any more, since somebody took them away.
	networkLost []string
}

// addInstances makes the plan's instances.
func (s *supervisor) addInstances() {
	s.services = map[string][]*instance{}
	services := s.handover.Plan.Services
	for n := range services {
		service := &services[n]
		var siblings []*instance
		for k := range service.Instances {
			siblings = append(siblings, &instance{
				env: s, service: service, plan: &service.Instances[k],
				backoff: backoff{policy: service.Restart}, state: control.Waiting, since: time.Now(),
			})
		}
		for _, i := range siblings {
			i.siblings = siblings
			if service.Healthcheck != nil && !service.Healthcheck.Disabled {
				i.health = healthStarting
			}
		}
		s.services[service.Name] = siblings
		s.instances = append(s.instances, siblings...)
	}
}

const healthStarting = "starting"

// failed is why an instance does not come up.
type failed struct {
	stage string
	err   error
}

func (f *failed) Error() string { return f.stage + ": " + f.err.Error() }
func (f *failed) Unwrap() error { return f.err }

// at says at which stage an error came; nil stays nil.
func at(stage string, err error) error {
	if err == nil {
		return nil
	}
	return &failed{stage, err}
}

// live is the instance's life. It returns when it has ended for good and nothing
// of it is left but its log and report.
func (i *instance) live() {
	err := i.comeUp()
	if err != nil && !errors.Is(err, errStopping) {
		i.fail(err)
	}
	i.change(func() {
		i.over = true
		i.setState(control.Exited)
	})
	if i.removeErr = i.remove(); i.removeErr != nil {
		i.env.log.Warn("cannot remove all of an instance", "instance", i.plan.Name, "error", i.removeErr)
	}
}

// comeUp waits for what the instance depends on, and then runs its containers.
func (i *instance) comeUp() error {
	// Until the container runs, a stop gives everything up.
	ctx := i.env.stopping
	if err := i.awaitDependencies(ctx); err != nil {
		return err
	}
	i.enterState(control.Creating, control.Event{Kind: control.EventCreating})
	if err := i.prepare(ctx); err != nil {
		return err
	}
	if err := i.preStart(ctx); err != nil {
		return err
	}
	for {
		again, err := i.runOnce()
		if !again || err != nil {
			return err
		}
	}
}

// runOnce runs one container from its start to its end, and says whether there is
// to be another; it has waited for its time then.
func (i *instance) runOnce() (again bool, _ error) {
	r, err := i.start(i.env.stopping)
	if err != nil {
		return false, err
	}
	why, failure := r.attend()
	report := i.ended(r)
	if why == endRestart && failure == nil {
		return true, i.restart(0, "what it depends on was restarted")
	}
	if why == endStop || failure != nil {
		return false, failure
	}
	ran := time.Duration(0)
	if report.WallSeconds != nil {
		ran = time.Duration(*report.WallSeconds * float64(time.Second))
	}
	delay, again := i.backoff.next(report.ExitCode, ran)
	if again {
		return true, i.restart(delay, delay.String())
	}
	return false, i.judgeExit(report)
}

// judgeExit says whether an end for good is a failure of the environment's start.
func (i *instance) judgeExit(report *runtime.Report) error {
	starting, everReady := false, false
	i.env.look(func() { starting, everReady = i.env.status.Phase == control.Starting, i.everReady })
	switch {
	case !starting:
		return nil
	case report.ExitCode != 0:
		return at(stageExit, explainExit(report))
	case !everReady && (len(i.service.Ready) > 0 || i.check != nil):
		return at(stageExit, errors.New("it ended by itself, with code 0, before it was ready; see its output, and its probes"))
	}
	return nil
}

func explainExit(report *runtime.Report) error {
	switch report.Reason {
	case runtime.ReasonOOM:
		return errors.New("the kernel's OOM killer ended it: it needs more memory than its limit; raise mem_limit")
	case runtime.ReasonWallTime:
		return errors.New("its wall time is used up; raise wall_time")
	case runtime.ReasonCPUTime:
		return errors.New("its CPU time is used up; raise cpu_time")
	}
	if report.Signal != nil {
		return fmt.Errorf("it was ended by signal %d; see its output", *report.Signal)
	}
	return fmt.Errorf("it exited with code %d; see its output", report.ExitCode)
}

// restart waits until a new container is to be started.
func (i *instance) restart(delay time.Duration, detail string) error {
	i.enterState(control.Restarting, control.Event{Kind: control.EventRestart, Detail: detail})
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-i.env.stopping.Done():
		return errStopping
	}
	i.change(func() { i.restarts++ })
	i.enterState(control.Creating, control.Event{Kind: control.EventCreating})
	return nil
}

// fail notes why the instance did not come up.
func (i *instance) fail(err error) {
	failure := &control.Failure{Service: i.service.Name, Stage: stageStart, Error: err.Error()}
	if staged := (*failed)(nil); errors.As(err, &staged) {
		failure.Stage, failure.Error = staged.stage, staged.err.Error()
	}
	if len(i.siblings) > 1 {
		failure.Error = i.plan.Name + ": " + failure.Error
	}
	if i.output != nil {
		failure.LastLines = i.output.tail()
	}
	i.env.log.Debug("an instance failed", "instance", i.plan.Name, "error", err)
	i.change(func() { i.failure, i.derived = failure, errors.Is(err, errDependency) })
	if err := i.writeReport(); err != nil {
		i.env.log.Warn("cannot write report", "instance", i.plan.Name, "error", err)
	}
}

// change changes what others see.
func (i *instance) change(change func()) { i.env.update(change) }

// setState is for the holder of the board's lock.
func (i *instance) setState(state control.State) {
	if i.state != state {
		i.state, i.since = state, time.Now()
	}
}

// enterState changes the state and tells of it.
func (i *instance) enterState(state control.State, e control.Event) {
	i.change(func() {
		i.setState(state)
		i.publish(e)
	})
}

// publish tells an event, and never waits. Within a change it is told before what
// others do because of that.
func (i *instance) publish(e control.Event) {
	e.Service, e.Instance = i.service.Name, i.plan.Name
	i.env.publish(e)
}

// The following are for the holder of the board's lock.

// oneShot reports whether somebody waits for the instance's successful end.
func (i *instance) oneShot() bool {
	return slices.ContainsFunc(i.dependents(), func(d plan.Dependency) bool { return d.Condition == plan.Completed })
}

// dependents are all dependencies on the instance's service.
func (i *instance) dependents() (all []plan.Dependency) {
	for n := range i.env.handover.Plan.Services {
		for _, d := range i.env.handover.Plan.Services[n].DependsOn {
			if d.Service == i.service.Name {
				all = append(all, d)
			}
		}
	}
	return all
}

// matters reports whether the start fails with the instance: it does unless all
// who depend on its service can do without.
func (i *instance) matters() bool {
	dependents := i.dependents()
	return len(dependents) == 0 || slices.ContainsFunc(dependents, func(d plan.Dependency) bool { return !d.Optional })
}

// arrived reports whether the instance is where the start is to bring it.
func (i *instance) arrived() bool {
	succeeded := i.over && i.failure == nil && i.exitCode != nil && *i.exitCode == 0
	if i.oneShot() {
		return succeeded
	}
	return i.everReady || succeeded
}

// group counts goroutines that belong to one container and ends them.
type group struct {
	ctx    context.Context //nolint:containedctx // of the container's life
	cancel context.CancelFunc
	all    sync.WaitGroup
}

func newGroup() *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

func (g *group) end() {
	g.cancel()
	g.all.Wait()
}
