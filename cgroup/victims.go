package cgroup

import (
	"os"
	"slices"
	"strings"
)

// groupKillMicros is how long after its announcement a kill is taken for part of a whole group's. A later
// OOM whose own announcement was rate limited would else be counted too.
const groupKillMicros = 100_000

// episode is one run of the OOM killer. The kernel prints its lines under one lock, so that those of
// another come before or after.
type episode struct {
	// selected names the victim and its group; zero when that line was rate limited.
	selected oomEvent
	// first is the victim's kill.
	first oomEvent
	// whole announces that the rest of a group follows; zero when it doesn't.
	whole oomEvent
	rest  []oomEvent
}

func episodesOf(events []oomEvent) []episode {
	var list []episode
	var current *episode
	begin := func() *episode {
		list = append(list, episode{})
		return &list[len(list)-1]
	}
	for _, event := range events {
		switch event.kind {
		case oomSelected:
			current = begin()
			current.selected = event
		case oomSkipped:
			if current != nil && current.first.kind == 0 {
				current = nil
			}
		case oomGroupKill:
			if current == nil || current.first.kind == 0 || current.whole.kind != 0 {
				current = begin()
			}
			current.whole = event
		case oomKilled:
			switch {
			case current != nil && current.whole.kind != 0 && event.micros-current.whole.micros <= groupKillMicros:
				current.rest = append(current.rest, event)
			case current != nil && current.selected.kind != 0 && current.first.kind == 0:
				current.first = event
			default:
				current = begin()
				current.first = event
			}
		}
	}
	return list
}

// victimsOf picks those of a group, in the order of their end.
func victimsOf(events []oomEvent, group groupPath, ours func(pid int) bool) []Victim {
	victims := []Victim{}
	add := func(e oomEvent) { victims = append(victims, Victim{Pid: e.pid, Comm: e.comm}) }
	asked := func(e oomEvent) bool { return ours != nil && ours(e.pid) }
	for _, ep := range episodesOf(events) {
		switch {
		case ep.first.kind == 0: // nobody was killed, or not yet
		case ep.selected.kind != 0:
			// The selection names the process; the kill may name one of its threads.
			if group.holds(ep.selected.group) {
				add(ep.selected)
			}
		case group.holds(ep.whole.group) || asked(ep.first):
			add(ep.first)
		}
		for _, e := range ep.rest {
			// Where the killed group is one above ours, the log doesn't tell who was in which.
			if !ep.isFirstAgain(e) && (group.holds(ep.whole.group) || asked(e)) {
				add(e)
			}
		}
	}
	return victims
}

// isFirstAgain says that a kill of the whole group is that of its first victim over again, which the kernel
// prints too if that one isn't gone by then: under its own number, or under that of a thread when the
// first thread is gone. A thread is known by the process's size.
func (ep *episode) isFirstAgain(e oomEvent) bool {
	if ep.first.kind == 0 {
		return false
	}
	same := func(e oomEvent) bool { return e.pid == ep.first.pid || e.pid == ep.selected.pid }
	if same(e) {
		return true
	}
	if slices.ContainsFunc(ep.rest, same) {
		return false
	}
	i := slices.IndexFunc(ep.rest, func(other oomEvent) bool { return other.memory == ep.first.memory })
	return i >= 0 && ep.rest[i].pid == e.pid
}

// groupPath is a memory cgroup as the kernel's log names it.
type groupPath struct {
	path string
	// suffix says that the kernel's name begins with something that this process cannot see, because it
	// is in a cgroup namespace.
	suffix bool
}

func (p groupPath) holds(path string) bool {
	if p.path == "" || p.path == "/" {
		return false
	}
	if within(path, p.path) {
		return true
	}
	return p.suffix && (strings.HasSuffix(path, p.path) || strings.Contains(path, p.path+"/"))
}

// initCgroupNamespace is the link of the first cgroup namespace (PROC_CGROUP_INIT_INO).
const initCgroupNamespace = "cgroup:[4026531835]"

// memoryPath finds the group's path from the true root of its hierarchy: the mount's root from
// mountinfo and the rest from the directory. Of this thread, not of the process: what /proc/self tells is
// that of the first thread, which libcontainer may have left in a container's mount namespace (Go keeps
// that one even when it is not to be used any more).
func (g *Group) memoryPath() groupPath {
	dir := g.v1["memory"]
	if g.isV2() {
		dir = g.unified
	}
	if dir == "" {
		return groupPath{}
	}
	text, err := readFile("/proc/thread-self/mountinfo")
	if err != nil {
		return groupPath{}
	}
	root, point := mountOf(text, dir)
	namespace, err := os.Readlink("/proc/thread-self/ns/cgroup")
	p := groupPath{suffix: err != nil || namespace != initCgroupNamespace}
	p.path = strings.TrimSuffix(root, "/") + strings.TrimPrefix(dir, strings.TrimSuffix(point, "/"))
	if p.suffix {
		p.path = strings.TrimPrefix(dir, strings.TrimSuffix(point, "/"))
	}
	return p
}

// mountOf finds the mount that a path is on in mountinfo's lines, "36 35 98:0 /root /point options …": the
// last one with the longest mount point.
func mountOf(mountinfo, path string) (root, point string) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		r, p := unescapeMount(fields[3]), unescapeMount(fields[4])
		if len(p) >= len(point) && within(path, p) {
			root, point = r, p
		}
	}
	return root, point
}

// unescapeMount undoes the octal escapes of blanks and backslashes in mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
