package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// sandbox is what containers are started from: a bundle, with an instance's
// network, volumes and secrets. An instance has one, and one for each of its
// pre_start steps. It belongs to the instance's goroutine.
type sandbox struct {
	instance *instance
	// id names the bundle, the container and its control group.
	id     string
	bundle build.Result
}

// build makes the bundle, and returns the health check that the service has with
// what the image says.
func (b *sandbox) build(ctx context.Context, image plan.Image, svc service.Service) (*plan.Healthcheck, error) {
	i := b.instance
	check := i.service.CheckOf(nil)
	var imageErr error
	source := build.Source{Text: cmp.Or(image.Source, "host:"), Variant: image.Variant, DockerDefaults: image.DockerDefaults}
	if !image.Host {
		source.Load = func(context.Context) (stored store.Image, err error) {
			if image.Digest == "" {
				imageErr = errors.New("its image is not in the store; sandboxrun env brings it there before it starts this")
				return stored, imageErr
			}
			if stored, err = i.env.store.Image(string(image.Digest), image.Variant); err != nil {
				imageErr = err
				return stored, err
			}
			stored.Reference = cmp.Or(image.Reference, stored.Reference)
			check = i.service.CheckOf(stored.Config.Config.Healthcheck)
			return stored, nil
		}
	}
	var err error
	b.bundle, err = build.Build(ctx, i.env.store, source, svc, build.Options{
		Dir: filepath.Join(i.env.paths.Bundles, b.id), StateRoot: i.env.handover.Roots.State, Log: i.env.log,
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errStopping
	case imageErr != nil:
		return nil, at(stageImage, imageErr)
	case err != nil:
		return nil, at(stageCreate, err)
	}
	linux := b.bundle.Spec.Linux
	linux.Seccomp = i.env.profiles.shared(linux.Seccomp)
	return check, b.checkLimits()
}

// checkLimits refuses limits that this host cannot hold.
func (b *sandbox) checkLimits() error {
	missing := b.instance.env.cgroups.Missing(b.bundle.Spec.Linux.Resources, b.cgroup(), false)
	if len(missing) == 0 {
		return nil
	}
	return at(stageCreate, fmt.Errorf("%s; or leave the limit out", missing[0]))
}

// cgroup is the control group as linux.cgroupsPath has it.
func (b *sandbox) cgroup() string { return filepath.Join(b.instance.env.handover.Cgroup, b.id) }

func (b *sandbox) rootfs() string { return filepath.Join(b.bundle.Dir, b.bundle.Spec.Root.Path) }

// options are those of the next container.
func (b *sandbox) options() (*runtime.RunOptions, error) {
	i := b.instance
	spec, err := b.spec()
	if err != nil {
		return nil, err
	}
	limits := i.service.Sandbox.Limits
	return &runtime.RunOptions{
		CreateOptions: runtime.CreateOptions{
			ID: b.id, Bundle: b.bundle.Dir, Spec: spec, Init: i.service.Init,
			ProcessOptions: runtime.ProcessOptions{Stdout: i.output.stdout, Stderr: i.output.stderr},
		},
		WallTime: limits.WallTime, CPUTime: limits.CPUTime,
		StopTimeout: max(i.service.StopGrace, time.Millisecond), CallerIsInit: true,
	}, nil
}

// spec is the bundle's with what is the environment's: namespaces, control group,
// secrets, and the files that name things.
func (b *sandbox) spec() (*specs.Spec, error) {
	i := b.instance
	spec, linux := *b.bundle.Spec, *b.bundle.Spec.Linux
	spec.Linux = &linux
	linux.CgroupsPath = b.cgroup()
	linux.Namespaces = slices.Clone(linux.Namespaces)
	setNamespace(&linux, specs.NetworkNamespace, i.endpoint.namespace.Path())
	for kind, name := range map[specs.LinuxNamespaceType]string{specs.PIDNamespace: i.service.JoinPID, specs.IPCNamespace: i.service.JoinIPC} {
		if name == "" {
			continue
		}
		path, err := i.env.namespaceOf(name, kind)
		if err != nil {
			return nil, err
		}
		setNamespace(&linux, kind, path)
	}
	spec.Mounts = append(i.withFiles(spec.Mounts), i.grantMounts()...)
	return &spec, nil
}

func setNamespace(linux *specs.Linux, kind specs.LinuxNamespaceType, path string) {
	for n := range linux.Namespaces {
		if linux.Namespaces[n].Type == kind {
			linux.Namespaces[n].Path = path
			return
		}
	}
	linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

// namespaceOf names a namespace of a service's first instance that runs.
func (s *supervisor) namespaceOf(name string, kind specs.LinuxNamespaceType) (string, error) {
	running := s.firstRunning(name)
	if running == nil {
		return "", fmt.Errorf("cannot share the %s namespace of service %s: it does not run", kind, name)
	}
	state, err := running.Container().State()
	if err != nil {
		return "", err
	}
	if state.Pid == 0 {
		return "", fmt.Errorf("cannot share the %s namespace of service %s: it has just ended", kind, name)
	}
	return fmt.Sprintf("/proc/%d/ns/%s", state.Pid, kind), nil
}

// remove removes the bundle, if it was made.
func (b *sandbox) remove() error {
	if b.bundle.Dir == "" {
		return nil
	}
	// Whatever has stopped the environment, this is to be done.
	return build.Remove(context.Background(), b.instance.env.store, b.bundle.Dir)
}
