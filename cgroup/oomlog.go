package cgroup

import (
	"fmt"
	"os"
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

// SamePIDs reports whether the kernel's process ids are the caller's own, which
// holds in the host's first PID namespace only. Elsewhere, such as in a CI job
// that is a container itself, victims cannot be told by their ids.
func (l *OOMLog) SamePIDs() bool {
	// PROC_PID_INIT_INO of include/linux/proc_ns.h.
	link, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && link == "pid:[4026531836]"
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
	victims := victimsOf(l.events, g.memoryPath(), ours)
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
