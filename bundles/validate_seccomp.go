package bundles

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// seccomp checks names and values. Unknown names of syscalls are legal: a profile
// is written for more kernels than one.
func (v *validation) seccomp(s *specs.LinuxSeccomp) {
	// Neither a default action nor syscalls: libcontainer takes it as "no seccomp".
	if s == nil || s.DefaultAction == "" && len(s.Syscalls) == 0 {
		return
	}
	const at = "linux.seccomp"
	v.seccompAction(at+".defaultAction", s.DefaultAction)
	v.errno(at+".defaultErrnoRet", s.DefaultErrnoRet, s.DefaultAction)
	// A listener can't be asked about the system call that hands over the listener.
	if s.DefaultAction == specs.ActNotify {
		v.add(at+".defaultAction", "must not be %s: the sandbox would wait for itself", specs.ActNotify)
	}
	for i, arch := range s.Architectures {
		if !slices.Contains(seccompArches, arch) {
			v.add(index(at+".architectures", i), "must be one of %s, not %q", join(seccompArches), arch)
		}
	}
	for i, flag := range s.Flags {
		if !slices.Contains(seccompFlags, flag) {
			v.add(index(at+".flags", i), "must be one of %s, not %q", join(seccompFlags), flag)
		}
	}
	if s.ListenerMetadata != "" && s.ListenerPath == "" {
		v.add(at+".listenerMetadata", "needs linux.seccomp.listenerPath")
	}
	notifies := false
	for i, call := range s.Syscalls {
		at := index(at+".syscalls", i)
		notifies = notifies || call.Action == specs.ActNotify
		if len(call.Names) == 0 {
			v.add(at+".names", "is missing or empty; name at least one system call")
		}
		for j, name := range call.Names {
			if name == "" {
				v.add(index(at+".names", j), "must name a system call, not be empty")
			}
			// libcontainer hands over the listener by write(2) (seccomp_linux.go).
			if call.Action == specs.ActNotify && name == "write" {
				v.add(index(at+".names", j), "must not be \"write\" with %s: the sandbox would wait for itself", specs.ActNotify)
			}
		}
		v.seccompAction(at+".action", call.Action)
		v.errno(at+".errnoRet", call.ErrnoRet, call.Action)
		for j, arg := range call.Args {
			at := index(at+".args", j)
			if arg.Index > 5 {
				v.add(at+".index", "must be from 0 to 5, not %d", arg.Index)
			}
			if !slices.Contains(seccompOperators, arg.Op) {
				v.add(at+".op", "must be one of %s, not %q", join(seccompOperators), arg.Op)
			}
		}
	}
	if notifies && s.ListenerPath == "" {
		v.add(at+".listenerPath", "is missing or empty; %s needs it", specs.ActNotify)
	}
}

func (v *validation) seccompAction(at string, action specs.LinuxSeccompAction) {
	if !slices.Contains(seccompActions, action) {
		v.add(at, "must be one of %s, not %q", join(seccompActions), action)
	}
}

// errno fails "when the action doesn't support an errno" (config-linux.md,
// "Seccomp"), which libcontainer ignores. 0 is taken as "none": tools write it.
func (v *validation) errno(at string, value *uint, action specs.LinuxSeccompAction) {
	if value == nil || *value == 0 {
		return
	}
	if action != specs.ActErrno && action != specs.ActTrace {
		v.add(at, "needs the action %s or %s, not %q", specs.ActErrno, specs.ActTrace, action)
		return
	}
	// SECCOMP_RET_DATA is 16 bits, of which the kernel caps an errno at MAX_ERRNO.
	const most = 4095
	if *value > most {
		v.add(at, "must be at most %d, not %d", most, *value)
	}
}
