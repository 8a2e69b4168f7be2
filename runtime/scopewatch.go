package runtime

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// scopeWatch keeps what a report must tell of a container whose cgroup is a scope
// of systemd's: that removes the group in the moment in which its last process
// ends, mostly before anybody has read it. The figures may be lost then; the limits,
// and whether the OOM killer came, are not.
//
// The limits are those at the start.
type scopeWatch struct {
	limits cgroup.EffectiveLimits
	source oomSource
	wakeup int // eventfd
	done   chan uint64
}

// watchScope returns nil without an error where the group has no memory
// controller: nothing is to be lost then but limits that nobody set.
func watchScope(group *cgroup.Group, paths map[string]string) (*scopeWatch, error) {
	source, err := openOOMSource(paths)
	if errors.Is(err, errNoMemoryController) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		source.close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &scopeWatch{limits: group.Effective(), source: source, wakeup: wakeup, done: make(chan uint64, 1)}
	go func() { w.done <- w.count() }()
	return w, nil
}

// count returns how many OOM kills there were until stop.
func (w *scopeWatch) count() uint64 {
	var kills uint64
	for {
		ready := []unix.PollFd{{Fd: int32(w.source.fd()), Events: unix.POLLIN}, {Fd: int32(w.wakeup), Events: unix.POLLIN}}
		_, err := unix.Poll(ready, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return kills
		}
		kills += w.source.read()
		if ready[1].Revents != 0 {
			return kills
		}
	}
}

// stop returns what count has; it is called once.
func (w *scopeWatch) stop() uint64 {
	if _, err := unix.Write(w.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return 0 // never: an eventfd that nobody else has
	}
	kills := <-w.done
	w.source.close()
	unix.Close(w.wakeup)
	return kills
}

// watchScope starts a watch where systemd made the cgroup. What it returns ends
// the watch.
func (s *supervisor) watchScope() (func(), error) {
	if !s.runtime.cfg.SystemdCgroup || s.group == nil {
		return func() {}, nil
	}
	watch, err := watchScope(s.group, s.container.cgroups)
	if watch == nil || err != nil {
		return func() {}, err
	}
	return func() { s.scope = &scopeRest{limits: watch.limits, kills: watch.stop()} }, nil
}

// scopeRest is what a watch has at the end.
type scopeRest struct {
	limits cgroup.EffectiveLimits
	kills  uint64
}

// reportScope takes the place of what could not be read because systemd was faster.
func (s *supervisor) reportScope() {
	if s.scope == nil || len(s.group.Existing()) > 0 {
		return
	}
	s.report.Limits.EffectiveLimits = s.scope.limits
	if s.report.OOM.Kills == nil {
		kills := max(s.scope.kills, s.loggedKills())
		s.report.OOM.Kills = &kills
	}
}

// loggedKills is how many OOM kills the kernel's log has: the group may be gone
// before the watch has heard of the last one.
func (s *supervisor) loggedKills() uint64 {
	if s.oomLog == nil {
		return 0
	}
	victims, err := s.oomLog.Victims(s.group, s.isMainProcess)
	if err != nil {
		s.log.Debug("cannot read the kernel log", "error", err)
	}
	return uint64(len(victims))
}
