package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/internal/cleanup"
)

// volume is a directory that instances share. Its content is theirs, and hostile.
type volume struct {
	dir string
	// own says that the environment makes it, and fills it from the first image.
	own bool

	mu    sync.Mutex // held while it is filled
	asked bool       // it was filled, or was not empty; guarded by mu
}

func (s *supervisor) newVolumes() map[string]*volume {
	volumes := map[string]*volume{}
	for _, v := range s.handover.Plan.Volumes {
		switch {
		case v.Source != "":
			volumes[v.Name] = &volume{dir: v.Source}
		default:
			volumes[v.Name] = &volume{dir: filepath.Join(s.paths.Volumes, v.Name), own: true}
		}
	}
	return volumes
}

// makeTmpfsVolumes mounts those that are memory, in this mount namespace.
func (s *supervisor) makeTmpfsVolumes(*cleanup.Stack) error {
	for _, v := range s.handover.Plan.Volumes {
		if !v.Tmpfs {
			continue
		}
		dir := s.volumes[v.Name].dir
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make volume %q: %w", v.Name, err)
		}
		if err := mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(v.Options, ",")); err != nil {
			return fmt.Errorf("cannot make volume %q: %w; correct its driver_opts", v.Name, err)
		}
	}
	return nil
}

// source makes the volume, if need be, and returns what is to be mounted of it.
// part is the path for a part of it.
func (v *volume) source(mount plan.VolumeMount, part string) (string, error) {
	if v.own {
		if err := os.Mkdir(v.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make volume %q: %w", mount.Volume, err)
		}
	}
	if mount.Subpath == "" {
		return v.dir, nil
	}
	// Filled in by provide: what is below may come from the image.
	if err := os.Mkdir(part, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make mount point of volume %q: %w", mount.Volume, err)
	}
	return part, nil
}

// provide fills a volume that is new from the root filesystem at its target, as
// docker does, and mounts the part of it that is asked for.
func (v *volume) provide(rootfs string, mount plan.VolumeMount, part string) error {
	if mount.Subpath != "" {
		return v.mountPart(mount, part)
	}
	if !v.own || mount.NoCopy {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked {
		return nil
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return fmt.Errorf("read volume %q: %w", mount.Volume, err)
	}
	if len(entries) == 0 {
		if err := build.FillVolume(rootfs, v.dir, mount.Target); err != nil {
			return fmt.Errorf("fill volume %q from %s: %w", mount.Volume, mount.Target, err)
		}
	}
	v.asked = true
	return nil
}

// mountPart mounts a directory or file of the volume at part. The path in the volume
// is resolved as in a chroot and mounted by descriptor: who writes to the volume
// could change a link meanwhile.
func (v *volume) mountPart(what plan.VolumeMount, part string) error {
	root, err := os.OpenFile(v.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open volume %q: %w", what.Volume, err)
	}
	defer root.Close()
	handle, err := pathrs.OpenatInRoot(root, what.Subpath)
	if err != nil {
		return fmt.Errorf("cannot mount %q of volume %q: %w; make it first, or leave subpath out", what.Subpath, what.Volume, err)
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return fmt.Errorf("look at %q of volume %q: %w", what.Subpath, what.Volume, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("cannot mount %q of volume %q: it is no directory; name one", what.Subpath, what.Volume)
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()), part, "", unix.MS_BIND, "")
}
