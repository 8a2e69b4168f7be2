package cgroup

import (
	"strconv"
	"strings"
)

// maxComm is TASK_COMM_LEN without its NUL: what the kernel prints of a process's name.
const maxComm = 15

// oomEvent is what one line of the kernel log says about the OOM killer.
type oomEvent struct {
	kind oomKind
	pid  int
	comm string
	// micros is when the kernel printed the line, in its clock.
	micros uint64
	// memory is the size of the killed process's address space, as printed.
	memory string
	// scope is the group whose limit was hit, "" when the whole host was out of memory.
	scope string
	// group is the memory cgroup of the victim or, for oomGroupKill, the one that is killed as a whole.
	group string
}

type oomKind int

const (
	// oomSelected is the line that names a victim and its group. The kernel's rate limit may drop it, and
	// the victim may turn out to be exiting by itself.
	oomSelected oomKind = iota + 1
	// oomGroupKill announces that the rest of a group follows its victim (memory.oom.group).
	oomGroupKill
	// oomKilled is printed for each process that is killed, always, but doesn't name the group. Its pid and
	// name are those of a thread when the process's first thread has exited.
	oomKilled
	// oomSkipped says that the selected victim needs no killing: it is exiting.
	oomSkipped
)

// parseKmsgRecord splits a record of /dev/kmsg, "6,1234,5678901,-;text\n KEY=value\n" (priority, number,
// microseconds, flags), and undoes its \xNN escapes. ok is false for malformed records and for those that userspace wrote, which have a
// facility other than 0 and could claim anything.
func parseKmsgRecord(record string) (text string, micros uint64, ok bool) {
	header, text, found := strings.Cut(record, ";")
	fields := strings.Split(header, ",")
	if !found || len(fields) < 4 {
		return "", 0, false
	}
	priority, valid1 := parseDigits(fields[0])
	micros, valid2 := parseDigits(fields[2])
	if !valid1 || !valid2 || priority>>3 != 0 {
		return "", 0, false
	}
	text, _, _ = strings.Cut(text, "\n")
	return unescapeKmsg(text), micros, true
}

// unescapeKmsg undoes what the kernel does to bytes outside printable ASCII and to the backslash.
func unescapeKmsg(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseOOMLine reads a line of the kernel log, without its record header and with escapes undone. The
// names in it, of processes and of groups that a container made, are hostile: they may hold commas,
// parentheses and copies of the line's own keywords.
func parseOOMLine(line string) (event oomEvent, ok bool) {
	if rest, found := strings.CutPrefix(line, "oom-kill:constraint="); found {
		return parseSelected(rest)
	}
	if rest, found := strings.CutPrefix(line, "Tasks in "); found {
		group, found := strings.CutSuffix(rest, " are going to be killed due to memory.oom.group set")
		return oomEvent{kind: oomGroupKill, group: group}, found && strings.HasPrefix(group, "/")
	}
	message, rest, found := strings.Cut(line, ": ")
	if !found || (message != "Memory cgroup out of memory" && message != "Out of memory" &&
		message != "Out of memory (oom_kill_allocating_task)") {
		return oomEvent{}, false
	}
	if killed, found := strings.CutPrefix(rest, "Killed process "); found {
		return parseKilled(killed)
	}
	skipped := strings.HasPrefix(rest, "OOM victim ") && strings.HasSuffix(rest, " is already exiting. Skip killing the task")
	return oomEvent{kind: oomSkipped}, skipped
}

// parseSelected reads what follows "oom-kill:constraint=" (dump_header in mm/oom_kill.c):
//
//	CONSTRAINT_MEMCG,nodemask=(null),cpuset=NAME,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=COMM,pid=1,uid=0
//	CONSTRAINT_NONE,nodemask=(null),cpuset=NAME,mems_allowed=0,global_oom,task_memcg=/a/b,task=COMM,pid=1,uid=0
func parseSelected(s string) (event oomEvent, ok bool) {
	// From the end: uid and pid are the kernel's, whatever the name before them pretends.
	s, uid, found := cutLast(s, ",uid=")
	if !found || !onlyDigits(uid) {
		return oomEvent{}, false
	}
	s, digits, found := cutLast(s, ",pid=")
	pid, valid := parsePid(digits)
	if !found || !valid {
		return oomEvent{}, false
	}
	event = oomEvent{kind: oomSelected, pid: pid}
	// The name is what follows the first ",task=" that leaves it a possible length, because a name may
	// hold the separator itself; a later one when the groups before it then make no sense.
	for from := max(0, len(s)-maxComm-len(taskSeparator)); ; {
		i := strings.Index(s[from:], taskSeparator)
		if i < 0 {
			return oomEvent{}, false
		}
		from += i + len(taskSeparator)
		event.comm = s[from:]
		if event.scope, event.group, ok = parseGroups(s[:from-len(taskSeparator)]); ok {
			return event, true
		}
	}
}

const taskSeparator = ",task="

// parseGroups finds the groups at the end of a line of which the victim's name was cut off.
func parseGroups(s string) (scope, group string, ok bool) {
	// cpuset= shows the last part of a path, so no name can hold the slash after these keywords: their
	// first occurrence is the kernel's own.
	if _, groups, found := strings.Cut(s, ",oom_memcg=/"); found {
		return cutGroups("/" + groups)
	}
	_, group, ok = strings.Cut(s, ",global_oom,task_memcg=/")
	return "", "/" + group, ok
}

// cutGroups splits "/a,task_memcg=/a/b". Both paths may hold the separator, but the victim is always in
// the scope or below it, so that a container that picks such names for its groups can at most place
// the victim elsewhere below its own.
func cutGroups(s string) (scope, group string, ok bool) {
	const separator = ",task_memcg="
	for at := 0; ; {
		i := strings.Index(s[at:], separator)
		if i < 0 {
			return "", "", false
		}
		at += i
		scope, group = s[:at], s[at+len(separator):]
		if within(group, scope) {
			return scope, group, true
		}
		at += len(separator)
	}
}

// parseKilled reads what follows "Killed process " (__oom_kill_process in mm/oom_kill.c):
//
//	123 (COMM) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0
func parseKilled(s string) (event oomEvent, ok bool) {
	digits, rest, found := strings.Cut(s, " (")
	pid, valid := parsePid(digits)
	if !found || !valid {
		return oomEvent{}, false
	}
	// The last one, because a name may hold ") total-vm:" too.
	comm, sizes, found := cutLast(rest, ") total-vm:")
	if !found || len(comm) > maxComm {
		return oomEvent{}, false
	}
	memory, _, _ := strings.Cut(sizes, ",")
	return oomEvent{kind: oomKilled, pid: pid, comm: comm, memory: memory}, true
}

func parsePid(digits string) (int, bool) {
	n, ok := parseDigits(digits)
	return int(n), ok && n > 0 && n <= maxPids
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// within says whether path is group or lies below it.
func within(path, group string) bool {
	return path == group || group == "/" || strings.HasPrefix(path, group+"/")
}
