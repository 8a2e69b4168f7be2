package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const unified = "/sys/fs/cgroup/unified"

// refusedHybrid reports whether this host is one that crun refuses: hybrid, with
// controllers left in the unified hierarchy ("cgroups in hybrid mode not
// supported, drop all controllers from cgroupv2"). libcontainer puts up with it.
func refusedHybrid() bool {
	controllers, err := os.ReadFile(unified + "/cgroup.controllers")
	return err == nil && len(bytes.TrimSpace(controllers)) > 0
}

// v1View is a thread in a mount namespace of its own, in which the unified
// hierarchy of a hybrid host is not mounted. What it starts sees a host with
// cgroup v1; the host itself is left alone. It costs the started nothing.
type v1View struct {
	work chan func()
	done chan struct{}
}

func openV1View() (*v1View, error) {
	v := &v1View{work: make(chan func()), done: make(chan struct{})}
	entered := make(chan error)
	go func() {
		defer close(v.done)
		// Never unlocked: the thread must not serve other goroutines, and ends
		// with this one.
		runtime.LockOSThread()
		err := enterV1View()
		entered <- err
		if err != nil {
			return
		}
		for f := range v.work {
			f()
		}
	}()
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("hide %s from crun: %w", unified, err)
	}
	return v, nil
}

func enterV1View() error {
	// A thread shares its working directory with the others of the process,
	// which a mount namespace of its own does not allow (unshare(2)); CLONE_NEWNS
	// implies CLONE_FS.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare(CLONE_NEWNS)", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount(MS_PRIVATE)", err)
	}
	if err := unix.Unmount(unified, unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount2", err)
	}
	// crun makes plain files where that hierarchy was. They must not come to the
	// host's /sys/fs/cgroup, which is mounted here too.
	return os.NewSyscallError("mount(tmpfs)", unix.Mount("tmpfs", unified, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"))
}

// do runs f on the thread.
func (v *v1View) do(f func()) {
	finished := make(chan struct{})
	v.work <- func() { defer close(finished); f() }
	<-finished
}

func (v *v1View) close() {
	close(v.work)
	<-v.done
}
