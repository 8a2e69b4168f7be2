package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lookupV1 answers for one group on a v1 or hybrid host.
type lookupV1 struct {
	host        *Host
	cgroupsPath string
	controllers map[string]reason
}

// reason is why a controller cannot be used, zero when it can.
type reason struct{ why, fix string }

func (l *lookupV1) look(d demand) (why, fix string) {
	if d.v1 == "" {
		return "cgroup v1 has no files of the v2 tree", "use the spec's other limits, or boot with systemd.unified_cgroup_hierarchy=1"
	}
	r, known := l.controllers[d.v1]
	if !known {
		r = l.check(d.v1)
		if l.controllers == nil {
			l.controllers = map[string]reason{}
		}
		l.controllers[d.v1] = r
	}
	if r.why != "" {
		return r.why, r.fix
	}
	if d.v1File == "" || unix.Access(l.mount(d.v1)+"/"+d.v1File, unix.F_OK) == nil {
		return "", ""
	}
	if d.v1File == "memory.memsw.limit_in_bytes" {
		return "the kernel doesn't account swap", "boot with swapaccount=1, or leave the swap limit out"
	}
	return fmt.Sprintf("the %s controller of this kernel has no %s", d.v1, d.v1File), "use a kernel that was built with it, or leave the limit out"
}

func (l *lookupV1) mount(controller string) string {
	return l.host.Root + "/" + controller
}

func (l *lookupV1) check(controller string) reason {
	mount := l.mount(controller)
	if !l.isMounted(mount) {
		return l.notMounted(controller)
	}
	path := l.cgroupsPath
	if !filepath.IsAbs(path) && strings.Count(path, ":") != 2 {
		path = filepath.Join(l.host.ownGroup(controller), path)
	}
	if strings.Count(path, ":") == 2 {
		path = "/" // systemd makes the group; it has the rights
	}
	return writable(mount, path)
}

func (l *lookupV1) isMounted(mount string) bool {
	if l.host.fixture {
		return isDir(mount)
	}
	magic, err := filesystemType(mount)
	return err == nil && magic == unix.CGROUP_SUPER_MAGIC
}

func (l *lookupV1) notMounted(controller string) reason {
	listed, enabled, _ := l.host.kernelHas(controller)
	switch {
	case !listed:
		return reason{
			fmt.Sprintf("the kernel has no %s controller", controller),
			fmt.Sprintf("use a kernel built with %s", kernelOption(controller)),
		}
	case !enabled:
		return reason{
			fmt.Sprintf("the %s controller is switched off", controller),
			fmt.Sprintf("boot with cgroup_enable=%s and without cgroup_disable=%s", controller, controller),
		}
	}
	mount := l.mount(controller)
	return reason{
		fmt.Sprintf("the %s controller isn't mounted at %s", controller, mount),
		fmt.Sprintf("run `mkdir -p %s && mount -t cgroup -o %s cgroup %s`", mount, controller, mount),
	}
}

// writable tells whether groups can be made at path below mount, by the deepest directory that is there.
func writable(mount, path string) reason {
	dir := filepath.Join(mount, filepath.Clean("/"+path))
	for len(dir) > len(mount) && !isDir(dir) {
		dir = filepath.Dir(dir)
	}
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case err == nil:
		return reason{}
	case errors.Is(err, unix.EROFS):
		return reason{
			fmt.Sprintf("%s is mounted read-only", dir),
			fmt.Sprintf("mount it read-write, by `mount -o remount,rw %s` or by the outer container's configuration", mount),
		}
	}
	return reason{
		fmt.Sprintf("this user may not make groups in %s (%s)", dir, err),
		"run as root, or on a cgroup v2 host with systemd use --systemd-cgroup or `systemd-run --user --scope -p Delegate=yes …`",
	}
}
