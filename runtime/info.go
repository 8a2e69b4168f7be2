package runtime

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// HostInfo is what the running host has of what sandboxes need. Where the
// kernel does not tell, a member is empty.
type HostInfo struct {
	Kernel       string `json:"kernel"` // release, as uname -r
	Architecture string `json:"architecture"`
	OS           string `json:"os"` // PRETTY_NAME of os-release(5)
	CPUs         int    `json:"cpus"`
	MemoryBytes  uint64 `json:"memory_bytes"`
	Libcontainer string `json:"libcontainer"`
	Libseccomp   string `json:"libseccomp"`

	Cgroup struct {
		// Mode is unified, hybrid, legacy or, where none is mounted, "none".
		Mode        string   `json:"mode"`
		Controllers []string `json:"controllers"` // sorted
		Systemd     bool     `json:"systemd"`     // systemd is the host's init
	} `json:"cgroup"`

	// Namespaces are the kinds that the kernel has, sorted.
	Namespaces []string `json:"namespaces"`
	// UserNamespaces says whether an ordinary user may make one: "yes", or why not.
	UserNamespaces string `json:"user_namespaces"`
	Seccomp        struct {
		Actions []string `json:"actions"` // that the kernel has
	} `json:"seccomp"`
	LSMs []string `json:"lsms"`
	// CRIU is the path of the program and what it calls its version.
	CRIU struct {
		Path    string `json:"path"`
		Version string `json:"version"`
	} `json:"criu"`
}

// Info looks at the host. It changes nothing; it runs criu --version if there
// is a criu.
func Info(ctx context.Context) (HostInfo, error) {
	info := HostInfo{
		Architecture:   goruntime.GOARCH,
		OS:             osName(readText("/etc/os-release")),
		CPUs:           goruntime.NumCPU(),
		Libcontainer:   libcontainerVersion(),
		Libseccomp:     libseccompVersion(),
		Namespaces:     kernelNamespaces(),
		UserNamespaces: userNamespaces(),
		LSMs:           lsms(),
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return info, os.NewSyscallError("uname", err)
	}
	info.Kernel = unix.ByteSliceToString(uname.Release[:])
	var system unix.Sysinfo_t
	if err := unix.Sysinfo(&system); err != nil {
		return info, os.NewSyscallError("sysinfo", err)
	}
	info.MemoryBytes = uint64(system.Totalram) * uint64(system.Unit) //nolint:unconvert // a uint32 on some architectures
	info.Seccomp.Actions = words(readText("/proc/sys/kernel/seccomp/actions_avail"))

	host, err := cgroup.Detect()
	switch {
	case errors.Is(err, cgroup.ErrNoCgroups):
		info.Cgroup.Mode, info.Cgroup.Controllers = "none", []string{}
	case err != nil:
		return info, err
	default:
		info.Cgroup.Mode = string(host.Mode)
		if info.Cgroup.Controllers, err = controllers(host); err != nil {
			return info, err
		}
	}
	_, err = os.Lstat("/run/systemd/system")
	info.Cgroup.Systemd = err == nil // sd_booted(3)
	info.CRIU.Path, info.CRIU.Version = criu(ctx)
	return info, nil
}

// readText returns "" where there is nothing to be read: an older kernel, or a
// part of it that is not built or mounted.
func readText(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func words(text string) []string { return append([]string{}, strings.Fields(text)...) }

func osName(release string) string {
	for line := range strings.Lines(release) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			if unquoted, err := strconv.Unquote(value); err == nil {
				return unquoted
			}
			return value
		}
	}
	return ""
}

func kernelNamespaces() []string {
	entries, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		return []string{}
	}
	found := []string{}
	for _, e := range entries {
		// pid_for_children and time_for_children are no kinds of their own.
		if !strings.Contains(e.Name(), "_for_children") {
			found = append(found, e.Name())
		}
	}
	slices.Sort(found)
	return found
}

// userNamespaces looks where Linux, Debian and Ubuntu can forbid them.
func userNamespaces() string {
	for _, limit := range []struct{ path, forbids, reason string }{
		{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces is 0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns is 1: only programs with an AppArmor profile that allows it"},
	} {
		if readText(limit.path) == limit.forbids {
			return "no: " + limit.reason
		}
	}
	if _, err := os.Lstat("/proc/self/ns/user"); err != nil {
		return "no: the kernel has none"
	}
	return "yes"
}

// lsms are the active security modules. Without securityfs the two that matter
// to containers are asked themselves.
func lsms() []string {
	if list := readText("/sys/kernel/security/lsm"); list != "" {
		return strings.Split(list, ",")
	}
	found := []string{}
	if readText("/sys/module/apparmor/parameters/enabled") == "Y" {
		found = append(found, "apparmor")
	}
	if _, err := os.Lstat("/sys/fs/selinux/enforce"); err == nil {
		found = append(found, "selinux")
	}
	return found
}

// controllers are those of the v2 root, or those that v1 hierarchies have.
func controllers(host *cgroup.Host) ([]string, error) {
	if host.Mode == cgroup.Unified {
		found := words(readText(filepath.Join(host.Root, "cgroup.controllers")))
		slices.Sort(found)
		return found, nil
	}
	entries, err := os.ReadDir(host.Root)
	if err != nil {
		return nil, err
	}
	found := []string{}
	for _, e := range entries {
		// Two in one hierarchy have a name with a comma, as cpu,cpuacct.
		if e.IsDir() && e.Name() != "unified" && e.Name() != "systemd" {
			found = append(found, strings.Split(e.Name(), ",")...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

func criu(ctx context.Context) (path, version string) {
	path, err := exec.LookPath("criu")
	if err != nil {
		return "", ""
	}
	output, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return path, ""
	}
	first, _, _ := strings.Cut(string(output), "\n")
	return path, strings.TrimPrefix(first, "Version: ")
}
