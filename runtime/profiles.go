package runtime

import (
	"sync"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// convertedProfiles keeps what specconv makes of the seccomp profile that was used
// last, for a process that starts many containers with one: libcontainer's form takes
// 40 KiB, for as long as the container lives. It is never changed by libcontainer. The
// zero value is ready.
type convertedProfiles struct {
	mu        sync.Mutex
	spec      *specs.LinuxSeccomp // guarded by mu
	converted *configs.Seccomp    // of spec; guarded by mu
}

// take returns spec without its profile if that is the one that was converted last,
// by pointer. keep puts it into the configuration that was made of spec, or remembers
// what that has. For others than an init it does nothing.
func (p *convertedProfiles) take(spec *specs.Spec, opts *CreateOptions) (_ *specs.Spec, keep func(*configs.Config)) {
	if !opts.callerIsInit || spec.Linux == nil || spec.Linux.Seccomp == nil {
		return spec, func(*configs.Config) {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	profile := spec.Linux.Seccomp
	if p.spec != profile {
		return spec, func(config *configs.Config) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.spec, p.converted = profile, config.Seccomp
		}
	}
	converted := p.converted
	changed, linux := *spec, *spec.Linux
	linux.Seccomp = nil
	changed.Linux = &linux
	return &changed, func(config *configs.Config) { config.Seccomp = converted }
}
