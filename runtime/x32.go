package runtime

import (
	goruntime "runtime"
	"slices"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// dropX32 takes x32, the 32-bit ABI of x86_64, from the architectures of a seccomp profile where the kernel
// has none. libseccomp spends a third of a filter's compilation on it, and no program can run by it. What is
// left of the profile is at least as strict: a call by an x32 number is then one of an unknown architecture,
// for which libseccomp ends the thread (seccomp_attr_set(3), SCMP_FLTATR_ACT_BADARCH), where the kernel
// would have answered ENOSYS.
func dropX32(profile *configs.Seccomp) {
	if profile == nil || !slices.Contains(profile.Architectures, "x32") || !lacksX32() {
		return
	}
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(arch string) bool { return arch == "x32" })
}

// lacksX32 reports whether the kernel certainly has no x32. It asks by a system call of it, which a filter over
// this very process, such as that of a container engine, could punish by death: then it does not ask.
func lacksX32() bool {
	if goruntime.GOARCH != "amd64" {
		return false
	}
	// The mode is the thread's.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil || mode != 0 {
		return false
	}
	_, _, errno := unix.RawSyscall(x32Bit|unix.SYS_GETPID, 0, 0, 0)
	return errno == unix.ENOSYS
}

// x32Bit marks the numbers of x32 (__X32_SYSCALL_BIT of arch/x86/include/uapi/asm/unistd.h).
const x32Bit = 0x40000000
