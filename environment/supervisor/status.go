package supervisor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// Status is control.Handler's.
func (s *supervisor) Status() (status control.Status) {
	s.look(func() {
		status = s.status
		status.NetworkLost = slices.Clone(s.status.NetworkLost)
		for _, i := range s.instances {
			status.Instances = append(status.Instances, i.statusLocked())
		}
	})
	return status
}

// statusLocked is for the holder of the board's lock.
func (i *instance) statusLocked() control.InstanceStatus {
	since := i.since
	return control.InstanceStatus{
		Service: i.service.Name, Name: i.plan.Name, Index: i.plan.Index,
		State: i.state, Ready: i.ready, Health: i.health, Restarts: i.restarts, ExitCode: i.exitCode, Since: &since,
		Addresses: i.addresses(), Ports: i.ports(), Source: cmp.Or(i.service.Image.Source, "host:"),
		Command: slices.Clone(i.command), OOMKills: i.oomKills, NetworkLost: slices.Clone(i.networkLost),
	}
}

// Stats is control.Handler's.
func (s *supervisor) Stats(ctx context.Context) ([]control.InstanceStats, error) {
	all := make([]control.InstanceStats, len(s.instances))
	for n, i := range s.instances {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		runs := false
		s.look(func() {
			all[n] = control.InstanceStats{Service: i.service.Name, Name: i.plan.Name, At: time.Now(), Restarts: i.restarts}
			runs = i.running != nil
		})
		if !runs {
			continue
		}
		group, err := s.cgroups.Group(i.sandbox.cgroup())
		if err != nil {
			return nil, err
		}
		stats, err := group.Stats()
		if errors.Is(err, cgroup.ErrRemoved) {
			continue // it has just ended
		}
		if err != nil {
			s.log.Debug("cannot read all figures", "instance", i.plan.Name, "error", err)
		}
		usage, err := group.Usage()
		if err != nil && !errors.Is(err, cgroup.ErrRemoved) {
			s.log.Debug("cannot read use", "instance", i.plan.Name, "error", err)
		}
		all[n].Stats, all[n].Usage, all[n].Limits = stats, usage, group.Effective()
	}
	return all, nil
}

// Stop is control.Handler's.
func (s *supervisor) Stop(r control.StopRequest) error {
	s.requestStop(stopOrder{reason: cmp.Or(r.Reason, "down"), grace: r.Grace})
	return nil
}

// firstRunning returns the first container of a service that runs, nil without.
func (s *supervisor) firstRunning(service string) (running *runtime.Running) {
	s.look(func() {
		for _, i := range s.services[service] {
			if running == nil {
				running = i.running
			}
		}
	})
	return running
}
