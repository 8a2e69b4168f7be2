package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// insideVariable is set in the process that has namespaces of its own.
const insideVariable = "BENCH_ENV_INSIDE"

func inside() bool { return os.Getenv(insideVariable) != "" }

// enter executes this program in new network and mount namespaces.
func enter(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

const unified = "/sys/fs/cgroup/unified"

// settle makes the new namespaces fit: nothing that is mounted here is seen
// outside, 127.0.0.1 works, and crun does not refuse the host.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount(MS_PRIVATE)", err)
	}
	if controllers, err := os.ReadFile(unified + "/cgroup.controllers"); err == nil && len(bytes.TrimSpace(controllers)) > 0 {
		if err := unix.Unmount(unified, unix.MNT_DETACH); err != nil {
			return os.NewSyscallError("umount2", err)
		}
		// crun makes plain files where that hierarchy was. They must not come to the host's /sys/fs/cgroup, which is mounted here too.
		if err := unix.Mount("tmpfs", unified, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return os.NewSyscallError("mount(tmpfs)", err)
		}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name lo: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}
