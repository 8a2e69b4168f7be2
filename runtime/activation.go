package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Activation is what a service manager hands to a service that it starts when
// somebody connects (sd_listen_fds(3)).
type Activation struct {
	// Files become descriptors 3, 4, … of the program, before any ExtraFiles.
	Files []*os.File
	// Names are those of the descriptors, as many as Files, or nil.
	Names []string
}

// firstActivationFD is SD_LISTEN_FDS_START.
const firstActivationFD = 3

// InheritedActivation takes over the descriptors that the environment says
// this process was started with: LISTEN_FDS of them from 3 up, if LISTEN_PID is
// this process. Its result is empty without them. It is for main, once: the
// descriptors have one owner. They are close-on-exec from then on.
func InheritedActivation(getenv func(string) string) (Activation, error) {
	none := Activation{}
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return none, nil // for somebody else, as sd_listen_fds(3) says
	}
	count, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || count < 0 {
		return none, fmt.Errorf("cannot pass sockets on: LISTEN_FDS is %q, no number of descriptors; unset it or LISTEN_PID", getenv("LISTEN_FDS"))
	}
	var a Activation
	for fd := firstActivationFD; fd < firstActivationFD+count; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		// One that is close-on-exec cannot have been inherited: it is our own.
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			return none, fmt.Errorf("cannot pass %d sockets on: descriptor %d is not open; correct LISTEN_FDS", count, fd)
		}
		unix.CloseOnExec(fd)
		a.Files = append(a.Files, os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd)))
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	if count > 0 && len(names) == count && names[0] != "" {
		a.Names = names
	}
	return a, nil
}

// withActivation returns options whose program finds the descriptors where
// sd_listen_fds(3) looks for them. LISTEN_PID is 1, as with runc: a program
// that shares its PID namespace with the host has another number and ignores
// them, unless it does not look. nsinit's PID 1 corrects it for its child.
func withActivation(opts *CreateOptions) *CreateOptions {
	count := len(opts.Activation.Files)
	if count == 0 || opts.Spec == nil || opts.Spec.Process == nil {
		return opts
	}
	env := []string{"LISTEN_FDS=" + strconv.Itoa(count), "LISTEN_PID=1"}
	if len(opts.Activation.Names) == count {
		env = append(env, "LISTEN_FDNAMES="+strings.Join(opts.Activation.Names, ":"))
	}
	adapted := *opts
	adapted.Spec = withEnv(opts.Spec, env...)
	adapted.ExtraFiles = slices.Concat(opts.Activation.Files, opts.ExtraFiles)
	return &adapted
}
