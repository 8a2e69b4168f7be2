package nsinit

import (
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// pid1Marker is argv[1] of a process that pid1.c takes over.
const pid1Marker = "sandboxrun-pid1"

// PID1Args wraps args so that the sandbox's first process is this package's
// signal-forwarding, orphan-reaping PID 1, which then starts args as its child.
//
// exeFD is the number that a sealed descriptor of this executable will have in
// the sandbox; PID 1 closes it before the program starts. reportFD, if not
// negative, is that of PID 1's end of a [PID1Socket]; the program does not
// inherit it.
func PID1Args(exeFD, reportFD int, args []string) []string {
	return append([]string{
		"/proc/self/fd/" + strconv.Itoa(exeFD),
		pid1Marker,
		strconv.Itoa(exeFD),
		strconv.Itoa(reportFD),
	}, args...)
}

// PID1Report is what came out of a sandbox with this package's PID 1.
type PID1Report struct {
	// Program is the program's process ID in the reader's PID namespace; 0 if
	// it did not come to tell, or is not in that namespace nor below it.
	Program int
	// Ended says that Status is the program's: PID 1 saw its end.
	Ended  bool
	Status syscall.WaitStatus
}

// PID1Socket is the reader's end of what a sandbox with this package's PID 1
// says of its program, a SOCK_SEQPACKET pair:
//
//	the program, before its exec   one byte; the kernel adds the sender
//	PID 1, after the program's end the raw wait status, an int in host byte order
//
// The kernel takes the sender at the time of sending and holds it by reference
// with the message (SCM_CREDENTIALS, unix(7)). So nothing has to be read before
// the end, when the process itself is gone. One goroutine may use it at a time.
type PID1Socket struct {
	end *os.File
}

// NewPID1Socket returns both ends; writer is for PID 1. The caller closes both,
// and its copy of writer as soon as PID 1 has one.
func NewPID1Socket() (reader *PID1Socket, writer *os.File, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetsockoptInt(ends[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(ends[0])
		unix.Close(ends[1])
		return nil, nil, os.NewSyscallError("setsockopt(SO_PASSCRED)", err)
	}
	return &PID1Socket{os.NewFile(uintptr(ends[0]), "PID 1 reports")}, os.NewFile(uintptr(ends[1]), "PID 1's end"), nil
}

// Read returns what was said. It is for when PID 1 has ended, and never waits:
// of a PID 1 that was killed, or a program that was before its exec, there is
// less to tell, which is no error. What was read once is used up.
func (s *PID1Socket) Read() PID1Report {
	var report PID1Report
	first, sender, ok := s.receive()
	if ok && len(first) == 1 {
		report.Program = sender
		first, _, ok = s.receive()
	}
	if ok && len(first) == statusSize {
		report.Status = syscall.WaitStatus(binary.NativeEndian.Uint32(first))
		report.Ended = report.Status.Exited() || report.Status.Signaled()
	}
	return report
}

// statusSize is that of C's int on every architecture of Linux.
const statusSize = 4

// receive takes one message and its sender. What is longer than a message of
// ours comes as one byte too many; there is room for no descriptors.
func (s *PID1Socket) receive() (message []byte, sender int, ok bool) {
	buf := make([]byte, statusSize+1)
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, controlled, _, _, err := unix.Recvmsg(int(s.end.Fd()), buf, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	runtime.KeepAlive(s)
	if err != nil || n <= 0 {
		return nil, 0, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlled])
	if err != nil || len(messages) != 1 {
		return nil, 0, false
	}
	credentials, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		return nil, 0, false
	}
	return buf[:n], int(credentials.Pid), true
}

// Close gives the descriptor back.
func (s *PID1Socket) Close() error {
	return s.end.Close()
}
