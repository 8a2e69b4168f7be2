package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/internal/spelling"
)

// capabilities are those of Linux 5.9 and later (include/uapi/linux/capability.h).
// Read only.
var capabilities = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
	"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
}

// dockerCapabilities are those that docker gives (moby, oci/caps/defaults.go).
// Images expect them: the entrypoints of postgres, redis and nginx change the
// owner of their data and then their user. Read only.
var dockerCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

const allCapabilities = "ALL"

// CapabilityName returns the full name in upper case of a capability of
// capabilities(7), or "ALL": "sys_nice" gives "CAP_SYS_NICE".
func CapabilityName(s string) (string, error) {
	name := strings.ToUpper(s)
	if name == allCapabilities {
		return name, nil
	}
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	if slices.Contains(capabilities, name) {
		return name, nil
	}
	if guess := spelling.Nearest(name, capabilities); guess != "" {
		return "", fmt.Errorf("%q is no capability; did you mean %s?", s, guess)
	}
	return "", fmt.Errorf("%q is no capability; capabilities(7) lists them", s)
}

// granted applies add and drop to base as docker does: ALL comes before single
// names, and of those drop before add.
func granted(base, add, drop []string) []string {
	switch {
	case slices.Contains(add, allCapabilities):
		base = capabilities
	case slices.Contains(drop, allCapabilities):
		base = nil
	}
	out := slices.DeleteFunc(slices.Clone(base), func(name string) bool { return slices.Contains(drop, name) })
	for _, name := range add {
		if name != allCapabilities && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// AllCapabilities returns every capability of Linux.
func AllCapabilities() []string { return slices.Clone(capabilities) }
