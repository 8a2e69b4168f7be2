package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// prepare makes what the instance keeps over its restarts: output, network
// namespace, root filesystem, secrets, volumes. Remove takes it away, also where
// prepare has failed halfway.
func (i *instance) prepare(ctx context.Context) (err error) {
	release, err := i.env.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	i.output = i.env.logs.open(i.plan.Name, i.service.Logs)
	if i.endpoint, err = i.env.network.attach(i); err != nil {
		return at(stageCreate, err)
	}
	svc, err := i.sandboxed()
	if err != nil {
		return at(stageCreate, err)
	}
	i.sandbox = &sandbox{instance: i, id: i.plan.Name}
	if i.check, err = i.sandbox.build(ctx, i.service.Image, svc); err != nil {
		return err
	}
	spec := i.sandbox.bundle.Spec
	i.change(func() {
		i.command = spec.Process.Args
		i.health = ""
		if i.check != nil {
			i.health = healthStarting
		}
	})
	i.signal = stopSignal(i.service, spec)
	for n, v := range i.service.Volumes {
		if err := i.env.volumes[v.Volume].provide(i.sandbox.rootfs(), v, i.subpath(n)); err != nil {
			return at(stageCreate, err)
		}
	}
	if err := i.writeFiles(); err != nil {
		return at(stageCreate, err)
	}
	return at(stageCreate, i.writeGrants())
}

// stopSignal is the service's, or else the image's: a name with or without SIG, or
// a number. An image's that is none asks by SIGTERM, since its maker is not at hand
// to be told.
func stopSignal(s *plan.Service, spec *specs.Spec) unix.Signal {
	name := cmp.Or(s.StopSignal, spec.Annotations["org.opencontainers.image.stopSignal"])
	const last = 64 // SIGRTMAX
	if number, err := strconv.Atoi(name); err == nil && number > 0 && number <= last {
		return unix.Signal(number)
	}
	name = strings.ToUpper(name)
	for _, candidate := range []string{name, "SIG" + name} {
		if sig := unix.SignalNum(candidate); sig != 0 {
			return sig
		}
	}
	return unix.SIGTERM
}

// sandboxed is the service as the instance's bundle has it.
func (i *instance) sandboxed() (service.Service, error) {
	svc := i.service.Sandbox
	svc.Name, svc.Hostname = i.service.Name, i.plan.Hostname
	svc.Mounts = slices.Clone(svc.Mounts)
	for n, v := range i.service.Volumes {
		source, err := i.env.volumes[v.Volume].source(v, i.subpath(n))
		if err != nil {
			return svc, err
		}
		svc.Mounts = append(svc.Mounts, service.Mount{Kind: service.Bind, Source: source, Target: v.Target, ReadOnly: v.ReadOnly})
	}
	return svc, nil
}

// subpath is where the nth volume's part is mounted, if it is one.
func (i *instance) subpath(n int) string {
	return i.env.private(subpathsDir, fmt.Sprintf("%s.%d", i.plan.Name, n))
}

// remove takes away what prepare has made.
func (i *instance) remove() error {
	var errs []error
	if i.output != nil {
		errs = append(errs, i.output.Close())
	}
	if i.sandbox != nil {
		errs = append(errs, i.sandbox.remove())
	}
	return errors.Join(errs...)
}
