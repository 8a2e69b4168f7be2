package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// errDependency is why an instance never starts. It is no failure of its own: that
// was told of the service that it depends on.
var errDependency = errors.New("what it depends on did not come up")

// awaitDependencies waits until the service's conditions are met.
func (i *instance) awaitDependencies(ctx context.Context) error {
	waits := i.service.DependsOn
	// Whose namespace is shared must have one.
	for _, name := range joins(i.service) {
		waits = append(waits[:len(waits):len(waits)], plan.Dependency{Service: name, Condition: plan.Started})
	}
	if len(waits) > 0 {
		names := make([]string, len(waits))
		for n, d := range waits {
			names[n] = d.Service
		}
		i.publish(control.Event{Kind: control.EventWaiting, Detail: strings.Join(names, ", ")})
	}
	for _, d := range waits {
		err := i.env.await(ctx, func() (bool, error) { return i.env.met(d) })
		if errors.Is(err, errDependency) && d.Optional {
			i.env.log.Warn("starting without a dependency that failed", "instance", i.plan.Name, "dependency", d.Service)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// met is for the holder of the board's lock. The error says that the condition
// cannot be met any more.
func (s *supervisor) met(d plan.Dependency) (bool, error) {
	instances, known := s.services[d.Service]
	if !known {
		return false, fmt.Errorf("%w: there is no service %q", errDependency, d.Service)
	}
	all := true
	for _, i := range instances {
		var met bool
		lost := i.over || i.failure != nil
		switch d.Condition {
		case plan.Healthy:
			met = i.ready && i.health != healthUnhealthy
			lost = lost || i.health == healthUnhealthy
		case plan.Completed:
			met = i.over && i.exitCode != nil && *i.exitCode == 0
		default:
			met = i.everUp
		}
		if lost && !met {
			return false, fmt.Errorf("%w: %s", errDependency, d.Service)
		}
		all = all && met
	}
	return all, nil
}

const healthUnhealthy = "unhealthy"

// dependsOn reports whether service needs the one called name to run as long as
// itself.
func dependsOn(service *plan.Service, name string) bool {
	return slices.Contains(joins(service), name) ||
		slices.ContainsFunc(service.DependsOn, func(d plan.Dependency) bool { return d.Service == name })
}

// joins are the services whose namespaces a service shares.
func joins(service *plan.Service) (names []string) {
	for _, name := range []string{service.JoinNetwork, service.JoinPID, service.JoinIPC} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// awaitDependents waits, when the environment stops, until all that depend on the
// instance have ended, or until ctx ends.
func (i *instance) awaitDependents(ctx context.Context) error {
	return i.env.await(ctx, func() (bool, error) {
		for _, other := range i.env.instances {
			if other != i && !other.over && dependsOn(other.service, i.service.Name) {
				return false, nil
			}
		}
		return true, nil
	})
}
