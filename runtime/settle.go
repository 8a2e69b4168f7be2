package runtime

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
)

// settleCgroups has libcontainer's library find out once what it would find out, and
// keep in variables of the package without a lock, while several containers start at
// once: how this kernel calls the weights of blkio (cgroups/fs/blkio.go,
// detectWeightFilenames). It sets nothing. On v2 there is nothing of the kind.
func (r *Runtime) settleCgroups() {
	if cgroups.IsCgroup2UnifiedMode() {
		return
	}
	own, err := cgroups.GetOwnCgroupPath("blkio")
	if err == nil {
		var manager *fs.Manager
		nothing := &cgroups.Resources{SkipDevices: true}
		if manager, err = fs.NewManager(&cgroups.Cgroup{Resources: nothing}, map[string]string{"blkio": own}); err == nil {
			err = manager.Set(nothing)
		}
	}
	if err != nil {
		r.log.Debug("cannot look at the blkio controller", "error", err)
	}
}
