package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// preStart runs the service's pre_start steps, each in a container of its own with
// the instance's network, volumes and secrets: those that are once for the service
// in its first instance, for which the others wait.
func (i *instance) preStart(ctx context.Context) error {
	first := i.siblings[0]
	once := slices.ContainsFunc(i.service.PreStart, func(h plan.Hook) bool { return !h.PerReplica })
	if once && i != first {
		err := i.env.await(ctx, func() (bool, error) {
			if !first.preStarted && (first.over || first.failure != nil) {
				return false, errDependency
			}
			return first.preStarted, nil
		})
		if err != nil {
			return err
		}
	}
	for n, h := range i.service.PreStart {
		if !h.PerReplica && i != first {
			continue
		}
		if err := i.runStep(ctx, n, h); err != nil {
			if ctx.Err() != nil {
				return errStopping
			}
			i.publish(control.Event{Kind: control.EventHook, Detail: fmt.Sprintf("pre_start[%d]: %s", n, i.output.redact(err.Error()))})
			return at(stageHook, fmt.Errorf("pre_start[%d], %q: %w", n, h.Command, err))
		}
		i.publish(control.Event{Kind: control.EventHook, Detail: fmt.Sprintf("pre_start[%d]: done", n)})
	}
	i.change(func() { i.preStarted = true })
	return nil
}

// runStep runs one step to its end. Nothing of it is left.
func (i *instance) runStep(ctx context.Context, n int, h plan.Hook) (retErr error) {
	svc, err := i.sandboxed()
	if err != nil {
		return err
	}
	image := i.service.Image
	if h.Image != nil {
		image = *h.Image
	}
	b := &sandbox{instance: i, id: fmt.Sprintf("%s.pre_start.%d", i.plan.Name, n)}
	if _, err := b.build(ctx, image, stepOf(svc, h)); err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, b.remove()) }()
	opts, err := b.options()
	if err != nil {
		return err
	}
	report, err := i.env.runtime.Run(ctx, *opts)
	switch {
	case err != nil:
		return err
	case report.ExitCode != 0:
		return explainExit(report)
	}
	return nil
}

// stepOf is a service as one of its steps has it.
func stepOf(svc service.Service, h plan.Hook) service.Service {
	svc.Entrypoint, svc.Command = []string{}, h.Command
	svc.Environment = slices.Concat(svc.Environment, h.Environment)
	svc.User, svc.WorkingDir = cmp.Or(h.User, svc.User), cmp.Or(h.WorkingDir, svc.WorkingDir)
	if h.Privileged {
		privileges := false
		svc.CapAdd, svc.CapDrop = []string{"ALL"}, nil
		svc.NoNewPrivileges, svc.SeccompUnconfined = &privileges, true
	}
	return svc
}
