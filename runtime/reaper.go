package runtime

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// hasOwnPIDNamespace reports whether the kernel ends all the container's
// processes with its first one.
func (c *Container) hasOwnPIDNamespace() bool {
	config := c.lc.Config()
	return config.Namespaces.IsPrivate(configs.NEWPID)
}

// handles reports whether the container's first process has a handler for sig
// or ignores it (SigCgt and SigIgn of proc_pid_status(5)). It says yes when it
// cannot tell.
func (c *Container) handles(sig syscall.Signal) bool {
	pid, err := c.init.Pid()
	if err != nil {
		return true
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "SigCgt" && string(name) != "SigIgn" {
			continue
		}
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil || mask&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}

// reapOrphans makes the process the reaper of what a container without a PID
// namespace of its own orphans. The container's first process is left to its
// own waiter. stop gives the role back and waits for the reaping to end.
func reapOrphans(c *Container) (stop func(), err error) {
	first, err := c.init.Pid()
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range children {
			reapAllBut(first)
		}
	}()
	return func() {
		signal.Stop(children)
		close(children)
		<-done
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) //nolint:errcheck // it could be set, so it can be cleared
	}, nil
}

// reapAllBut looks before it takes: a plain wait4(-1) would steal the status
// of the container's first process.
func reapAllBut(first int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		pid := siginfoPid(&info)
		if err != nil || pid == 0 || pid == first {
			return
		}
		unix.Wait4(pid, nil, unix.WNOHANG, nil) //nolint:errcheck // it was there a moment ago and is nobody else's
	}
}

// siginfoPid reads si_pid of siginfo_t, which package unix does not name: the
// first member of a union that is aligned as a pointer and follows three ints
// (sigaction(2), include/uapi/asm-generic/siginfo.h).
func siginfoPid(info *unix.Siginfo) int {
	const align = unsafe.Sizeof(uintptr(0))
	const offset = (3*unsafe.Sizeof(int32(0)) + align - 1) / align * align
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
