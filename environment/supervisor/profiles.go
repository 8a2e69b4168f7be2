package supervisor

import (
	"reflect"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// profiles keeps one copy of equal seccomp profiles: most services have the same,
// and it is the largest part of a spec. The zero value is ready.
type profiles struct {
	mu    sync.Mutex
	known []*specs.LinuxSeccomp // guarded by mu; they are not changed
}

// shared returns a profile that is equal to p, for all to read.
func (s *profiles) shared(p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	if p == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.known {
		if reflect.DeepEqual(known, p) {
			return known
		}
	}
	s.known = append(s.known, p)
	return p
}
