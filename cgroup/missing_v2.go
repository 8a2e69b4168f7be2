package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lookupV2 answers for one group on a cgroup v2 host.
type lookupV2 struct {
	host        *Host
	cgroupsPath string
	rootless    bool
	levels      []level
	denied      reason
	// asked says that levels and denied are filled.
	asked bool
}

// level is one group on the way from the mount to the container's group.
type level struct {
	dir string
	// controllers are those that may be used in it.
	controllers []string
	// writable says that subtree_control may be written, occupied that processes live in a group that
	// isn't the root, which keeps the kernel from enabling controllers below it.
	writable, occupied bool
}

func (l *lookupV2) look(d demand) (why, fix string) {
	switch d.v2 {
	case noController:
		return "", ""
	case "":
		return "cgroup v2 has no such limit", "leave it out, or use a host with cgroup v1"
	}
	if !l.asked {
		l.ask()
	}
	if l.denied.why != "" {
		return l.denied.why, l.denied.fix
	}
	r := l.check(d.v2)
	if r.why == "" && d.v2File == "memory.swap.max" {
		r = l.checkSwap()
	}
	return r.why, r.fix
}

// ask reads the groups on the way that exist already.
func (l *lookupV2) ask() {
	l.asked = true
	if strings.Count(l.cgroupsPath, ":") == 2 {
		// systemd makes the group and enables what its properties need; a user's own manager can use what
		// was delegated to it.
		dir := l.host.Root
		if l.rootless {
			dir += l.host.userManager()
		}
		l.levels = append(l.levels, level{dir: dir, controllers: fieldsOf(dir + "/cgroup.controllers"), writable: true})
		return
	}
	path := l.cgroupsPath
	if path == "" {
		path = "container" // stands for the container's id, which libcontainer takes then
	}
	if !filepath.IsAbs(path) {
		// Beside the caller's own group, not below it: that one has a process, the caller.
		path = filepath.Join(filepath.Dir(l.host.ownGroup("")), path)
	}
	path = filepath.Clean("/" + path)
	l.denied = writable(l.host.Root, path)
	dir := l.host.Root
	rest := strings.Split(strings.Trim(filepath.Dir(path), "/"), "/")
	for isDir(dir) {
		l.levels = append(l.levels, readLevel(dir))
		if len(rest) == 0 || rest[0] == "" {
			return
		}
		dir += "/" + rest[0]
		rest = rest[1:]
	}
}

// userManager returns the group of the caller's own service manager. In a user namespace the user ID that counts
// is the host's, which only the caller's group tells.
func (h *Host) userManager() string {
	uid := strconv.Itoa(os.Getuid())
	for part := range strings.SplitSeq(h.ownGroup(""), "/") {
		owner, found := strings.CutSuffix(strings.TrimPrefix(part, "user-"), ".slice")
		if _, err := strconv.ParseUint(owner, 10, 32); found && err == nil {
			uid = owner
		}
	}
	return "/user.slice/user-" + uid + ".slice/user@" + uid + ".service"
}

func readLevel(dir string) level {
	lv := level{dir: dir, controllers: fieldsOf(dir + "/cgroup.controllers")}
	lv.writable = unix.Faccessat(unix.AT_FDCWD, dir+"/cgroup.subtree_control", unix.W_OK, unix.AT_EACCESS) == nil
	// Only the real root, which has no cgroup.type, may have both processes and controllers below.
	if unix.Access(dir+"/cgroup.type", unix.F_OK) == nil {
		procs, err := readFile(dir + "/cgroup.procs")
		lv.occupied = err == nil && procs != ""
	}
	return lv
}

func (l *lookupV2) check(controller string) reason {
	for i, lv := range l.levels {
		if !slices.Contains(lv.controllers, controller) {
			if i == 0 {
				return l.notOffered(lv.dir, controller)
			}
			// An upper level has it, so the runtime will enable it for this one, if it may.
			continue
		}
		if slices.Contains(fieldsOf(lv.dir+"/cgroup.subtree_control"), controller) {
			continue
		}
		if !lv.writable {
			return reason{
				fmt.Sprintf("the %s controller isn't enabled in %s/cgroup.subtree_control, which this user may not write", controller, lv.dir),
				delegateFix(controller),
			}
		}
		if lv.occupied && !threaded(controller) {
			return reason{
				fmt.Sprintf("the %s controller can't be enabled in %s/cgroup.subtree_control while processes are in %s itself", controller, lv.dir, lv.dir),
				"move them to a group below it, or give linux.cgroupsPath a place elsewhere",
			}
		}
	}
	return reason{}
}

// threaded tells the controllers that may be enabled below a group with processes (cgroup-v2.rst,
// "Threads").
func threaded(controller string) bool {
	return controller == "cpu" || controller == "cpuset" || controller == "pids"
}

func (l *lookupV2) notOffered(dir, controller string) reason {
	why := fmt.Sprintf("the %s controller isn't in %s/cgroup.controllers", controller, dir)
	if dir != l.host.Root {
		return reason{why, delegateFix(controller)}
	}
	listed, enabled, onV1 := l.host.kernelHas(controller)
	switch {
	case onV1:
		return reason{why + ": it is in use by cgroup v1", fmt.Sprintf("boot with cgroup_no_v1=%s", controller)}
	case listed && !enabled:
		return reason{why + ": it is switched off", fmt.Sprintf("boot with cgroup_enable=%s and without cgroup_disable=%s", controller, controller)}
	case unix.Access(dir+"/cgroup.type", unix.F_OK) == nil:
		return reason{why + ": the group that this host lives in wasn't given it", "have it enabled in the outer group's cgroup.subtree_control, by the outer container's configuration"}
	}
	return reason{why, fmt.Sprintf("use a kernel built with %s and not booted with cgroup_disable=%s", kernelOption(controller), controller)}
}

// checkSwap looks for memory.swap.max in the groups that have memory files; the root has none.
func (l *lookupV2) checkSwap() reason {
	for _, lv := range l.levels {
		if unix.Access(lv.dir+"/memory.max", unix.F_OK) == nil && unix.Access(lv.dir+"/memory.swap.max", unix.F_OK) != nil {
			return reason{"the kernel doesn't account swap", "boot with swapaccount=1, or leave the swap limit out"}
		}
	}
	cmdline, err := readFile(l.host.procDir + "/cmdline")
	if err == nil && slices.Contains(strings.Fields(cmdline), "swapaccount=0") {
		return reason{"the kernel was booted with swapaccount=0", "boot without it, or leave the swap limit out"}
	}
	return reason{}
}

func delegateFix(controller string) string {
	return fmt.Sprintf("run `systemctl edit user@.service`, add [Service] and Delegate=%s (with the others: Delegate=cpu cpuset io memory pids), and log in again", controller)
}

func fieldsOf(path string) []string {
	text, err := readFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(text)
}
