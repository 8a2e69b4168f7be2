package cgroup

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	kmsgPath = "/dev/kmsg"
	// kmsgRecord holds the largest record (PRINTK_MESSAGE_MAX and CONSOLE_EXT_LOG_MAX are 2 and 8 KiB).
	kmsgRecord = 8 << 10
	// maxEvents bounds what is kept of the log: the newest events stay.
	maxEvents = 8192
)

// OOMLog follows what the kernel's log says about the OOM killer from the moment it was opened. One log
// serves any number of groups. It costs nothing until Victims is called, which reads on; the kernel
// keeps what comes in a ring (log_buf_len) in the meantime. It may be used by several goroutines.
type OOMLog struct {
	mu     sync.Mutex
	fd     int        // guarded by mu; -1 when closed
	events []oomEvent // guarded by mu
	// lost says that the ring went round before it was read. Guarded by mu.
	lost bool
}

// OpenOOMLog opens /dev/kmsg behind its last record. The error wraps ErrOOMLog: the caller goes on
// without victims. Reading needs CAP_SYSLOG where kernel.dmesg_restrict is 1. The caller closes it.
func OpenOOMLog() (*OOMLog, error) {
	return openOOMLog(kmsgPath)
}

func openOOMLog(path string) (*OOMLog, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open kernel log: %w: %w", err, ErrOOMLog)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("seek in kernel log: %w: %w", os.NewSyscallError("lseek", err), ErrOOMLog)
	}
	return &OOMLog{fd: fd}, nil
}

// Close releases the descriptor. Victims fails afterwards. Closing twice does nothing.
func (l *OOMLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return nil
	}
	err := unix.Close(l.fd)
	l.fd = -1
	return os.NewSyscallError("close", err)
}

// Victims returns the processes of g, and of the groups below it, that the OOM killer ended since the log
// was opened, in the order of their end: an empty list when there were none. It can be called again,
// and for a removed group too.
//
// The line that tells a victim's group is rate limited (ten in five seconds on the whole host). Where it
// is missing, a kill counts if ours says that the process was the group's; ours gets the kernel's
// process id, which is the host's, and may be nil. The error wraps ErrOOMLog when the log cannot be
// read or its ring went round, and then the list may be incomplete.
func (l *OOMLog) Victims(g *Group, ours func(pid int) bool) ([]Victim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readLocked(); err != nil {
		return nil, err
	}
	victims := l.victimsLocked(g.memoryPath(), ours)
	if l.lost {
		return victims, fmt.Errorf("the kernel overwrote its log before it was read; raise log_buf_len: %w", ErrOOMLog)
	}
	return victims, nil
}

// readLocked takes in all records that have come.
func (l *OOMLog) readLocked() error {
	if l.fd < 0 {
		return fmt.Errorf("read kernel log: %w: %w", os.ErrClosed, ErrOOMLog)
	}
	var buf [kmsgRecord]byte
	for {
		n, err := unix.Read(l.fd, buf[:])
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil
		case unix.EPIPE: // records were overwritten; the next read goes on with the oldest left
			l.lost = true
			continue
		default:
			return fmt.Errorf("read kernel log: %w: %w", os.NewSyscallError("read", err), ErrOOMLog)
		}
		if n == 0 {
			return nil
		}
		l.takeLocked(string(buf[:n]))
	}
}

func (l *OOMLog) takeLocked(record string) {
	text, micros, ok := parseKmsgRecord(record)
	if !ok {
		return
	}
	event, ok := parseOOMLine(text)
	if !ok {
		return
	}
	event.micros = micros
	if len(l.events) == maxEvents {
		l.events = append(l.events[:0], l.events[1:]...)
	}
	l.events = append(l.events, event)
}

// groupKillMicros is how long after the announcement a kill is taken for part of it. A later OOM whose own
// announcement was rate limited would else be counted too.
const groupKillMicros = 100_000

func (l *OOMLog) victimsLocked(group groupPath, ours func(pid int) bool) []Victim {
	victims := []Victim{}
	// The kernel prints the lines of one OOM under one lock, so that those of another come before or after:
	// who is selected, that it is killed, that its group follows, each kill of the group.
	selected := map[int]oomEvent{}
	killed := map[int]bool{} // since the last selection: a group's first victim is listed twice
	var whole oomEvent
	for _, event := range l.events {
		switch event.kind {
		case oomSelected:
			selected[event.pid] = event
			clear(killed)
			whole = oomEvent{}
		case oomGroupKill:
			whole = event
		case oomKilled:
			announced, known := selected[event.pid]
			delete(selected, event.pid) // another process may get the number later
			var inside bool
			switch {
			case killed[event.pid]:
			case known:
				inside = group.holds(announced.group)
			case whole.kind != 0 && event.micros-whole.micros <= groupKillMicros:
				inside = group.holds(whole.group)
			default:
				inside = ours != nil && ours(event.pid)
			}
			killed[event.pid] = true
			if inside {
				victims = append(victims, Victim{Pid: event.pid, Comm: event.comm})
			}
		}
	}
	return victims
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
// /proc/self/mountinfo and the rest from the directory.
func (g *Group) memoryPath() groupPath {
	dir := g.v1["memory"]
	if g.isV2() {
		dir = g.unified
	}
	if dir == "" {
		return groupPath{}
	}
	text, err := readFile("/proc/self/mountinfo")
	if err != nil {
		return groupPath{}
	}
	root, point := mountOf(text, dir)
	namespace, err := os.Readlink("/proc/self/ns/cgroup")
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
