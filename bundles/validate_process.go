package bundles

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (v *validation) process() {
	process := v.spec.Process
	if process == nil {
		v.add("process", "is missing; set process.args and process.cwd")
		return
	}
	v.args(process.Args)
	v.environment("process.env", process.Env)
	v.absolute("process.cwd", process.Cwd)
	v.console(process)
	v.user(process.User)
	v.capabilities(process.Capabilities)
	v.rlimits(process.Rlimits)
	v.oomScoreAdj(process.OOMScoreAdj)
	v.scheduler(process.Scheduler)
	v.ioPriority(process.IOPriority)
	v.noNull("process.apparmorProfile", process.ApparmorProfile)
	v.noNull("process.selinuxLabel", process.SelinuxLabel)
	if affinity := process.ExecCPUAffinity; affinity != nil {
		v.numberList("process.execCPUAffinity.initial", affinity.Initial)
		v.numberList("process.execCPUAffinity.final", affinity.Final)
	}
}

func (v *validation) args(args []string) {
	if len(args) == 0 {
		v.add("process.args", "is missing or empty; set it to the program and its arguments")
		return
	}
	if args[0] == "" {
		v.add("process.args[0]", "must name a program, not be empty")
	}
	for i, arg := range args {
		v.noNull(index("process.args", i), arg)
	}
}

// environment wants what POSIX and libcontainer (prepareEnv) want of a variable.
func (v *validation) environment(at string, env []string) {
	for i, variable := range env {
		at := index(at, i)
		if strings.IndexByte(variable, 0) >= 0 {
			// The value may be a secret: only the name is repeated.
			name, _, _ := strings.Cut(variable, "=")
			v.add(at, "must not contain a null byte (variable %q)", name)
			continue
		}
		switch name, _, found := strings.Cut(variable, "="); {
		case !found:
			v.add(at, "must be NAME=VALUE, not %q", variable)
		case name == "":
			v.add(at, "must be NAME=VALUE, but the name is empty")
		}
	}
}

func (v *validation) console(process *specs.Process) {
	size := process.ConsoleSize
	if size == nil || !process.Terminal {
		return
	}
	// struct winsize (ioctl_tty(2)) has 16 bits for each.
	const most = 1<<16 - 1
	if size.Height > most {
		v.add("process.consoleSize.height", "must be at most %d, not %d", most, size.Height)
	}
	if size.Width > most {
		v.add("process.consoleSize.width", "must be at most %d, not %d", most, size.Width)
	}
}

func (v *validation) user(user specs.User) {
	// The kernel reads -1 as "no change" (setresuid(2)), which would leave the
	// program as root.
	const noID = 1<<32 - 1
	if user.UID == noID {
		v.add("process.user.uid", "must be at most %d", uint32(noID-1))
	}
	if user.GID == noID {
		v.add("process.user.gid", "must be at most %d", uint32(noID-1))
	}
	for i, gid := range user.AdditionalGids {
		if gid == noID {
			v.add(index("process.user.additionalGids", i), "must be at most %d", uint32(noID-1))
		}
	}
	if user.Umask != nil && *user.Umask > 0o777 {
		v.add("process.user.umask", "must be at most %d (octal 777), not %d", 0o777, *user.Umask)
	}
}

// capabilities checks what capset(2) would refuse with a bare EPERM. Names that
// aren't known are left to libcontainer, which warns and goes on, as the
// specification demands ("logged as a warning").
func (v *validation) capabilities(caps *specs.LinuxCapabilities) {
	if caps == nil {
		return
	}
	for i, name := range caps.Effective {
		if !slices.Contains(caps.Permitted, name) {
			v.add(index("process.capabilities.effective", i), "%q must also be in process.capabilities.permitted", name)
		}
	}
}

func (v *validation) rlimits(rlimits []specs.POSIXRlimit) {
	seen := make(map[string]bool, len(rlimits))
	for i, rlimit := range rlimits {
		at := index("process.rlimits", i)
		switch {
		case !slices.Contains(rlimitTypes, rlimit.Type):
			v.add(at+".type", "must be one of %s, not %q", strings.Join(rlimitTypes, ", "), rlimit.Type)
		case seen[rlimit.Type]:
			v.add(at+".type", "%q is set twice", rlimit.Type)
		}
		seen[rlimit.Type] = true
		if rlimit.Soft > rlimit.Hard {
			v.add(at+".soft", "must be at most the hard limit %d, not %d", rlimit.Hard, rlimit.Soft)
		}
	}
}

func (v *validation) oomScoreAdj(value *int) {
	// Documentation/filesystems/proc.rst, 3.1.
	if value != nil && (*value < -1000 || *value > 1000) {
		v.add("process.oomScoreAdj", "must be from -1000 to 1000, not %d", *value)
	}
}

// scheduler follows sched_setattr(2) as libcontainer's validator does.
func (v *validation) scheduler(s *specs.Scheduler) {
	if s == nil {
		return
	}
	const at = "process.scheduler"
	if !slices.Contains(schedulerPolicies, s.Policy) {
		v.add(at+".policy", "must be one of %s, not %q", join(schedulerPolicies), s.Policy)
		return
	}
	fair := s.Policy == specs.SchedOther || s.Policy == specs.SchedBatch
	if fair && (s.Nice < -20 || s.Nice > 19) {
		v.add(at+".nice", "must be from -20 to 19, not %d", s.Nice)
	}
	if realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR; !realtime && s.Priority != 0 {
		v.add(at+".priority", "needs the policy SCHED_FIFO or SCHED_RR, not %q", s.Policy)
	}
	if s.Policy != specs.SchedDeadline && (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0) {
		v.add(at, "runtime, deadline and period need the policy SCHED_DEADLINE, not %q", s.Policy)
	}
	for i, flag := range s.Flags {
		if !slices.Contains(schedulerFlags, flag) {
			v.add(index(at+".flags", i), "must be one of %s, not %q", join(schedulerFlags), flag)
		}
	}
}

func (v *validation) ioPriority(p *specs.LinuxIOPriority) {
	if p == nil {
		return
	}
	if !slices.Contains(ioPriorityClasses, p.Class) {
		v.add("process.ioPriority.class", "must be one of %s, not %q", join(ioPriorityClasses), p.Class)
	}
	if p.Priority < 0 || p.Priority > 7 {
		v.add("process.ioPriority.priority", "must be from 0 to 7, not %d", p.Priority)
	}
}
