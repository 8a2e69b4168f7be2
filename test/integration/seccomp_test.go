package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompListener is an agent at linux.seccomp.listenerPath:
// seccomp-listener SOCKET FILE. For each process that sends the descriptor of
// its filter, it appends the state that came with it to FILE, a line of JSON, and
// answers every system call by ENOSPC. It ends when it is killed.
func seccompListener() {
	if err := listenForFilters(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "seccomp-listener:", err)
		os.Exit(1)
	}
}

func listenForFilters(socket, file string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	states, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.AcceptUnix()
		if err != nil {
			return err
		}
		state, filter, err := receiveFilter(connection)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(states).Encode(state); err != nil {
			return err
		}
		go refuseAll(filter)
	}
}

// receiveFilter reads what config-linux.md, "The Container Process State", says:
// JSON in one message, with a descriptor for each name in its fds.
func receiveFilter(connection *net.UnixConn) (*specs.ContainerProcessState, int, error) {
	defer connection.Close()
	data, rights := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*8))
	n, rightsLen, _, _, err := connection.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, 0, err
	}
	var state specs.ContainerProcessState
	if err := json.Unmarshal(data[:n], &state); err != nil {
		return nil, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rightsLen])
	if err != nil {
		return nil, 0, err
	}
	if len(messages) != 1 {
		return nil, 0, fmt.Errorf("%d control messages", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err == nil && (len(fds) != 1 || len(state.Fds) != 1 || state.Fds[0] != specs.SeccompFdName) {
		err = fmt.Errorf("%d descriptors for %q", len(fds), state.Fds)
	}
	if err != nil {
		return nil, 0, err
	}
	return &state, fds[0], nil
}

// seccompNotification and seccompAnswer are struct seccomp_notif and
// seccomp_notif_resp (include/uapi/linux/seccomp.h).
type seccompNotification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompAnswer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// SECCOMP_IOCTL_NOTIF_RECV and SECCOMP_IOCTL_NOTIF_SEND, whose numbers hold the
// sizes of the structs.
const (
	ioctlReceive = 3<<30 | 80<<16 | '!'<<8
	ioctlSend    = 3<<30 | 24<<16 | '!'<<8 | 1
)

// refuseAll ends when the last process under the filter has.
func refuseAll(filter int) {
	defer unix.Close(filter)
	for {
		polled := []unix.PollFd{{Fd: int32(filter), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if polled[0].Revents&unix.POLLIN == 0 {
			return
		}
		var asked seccompNotification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(filter), ioctlReceive, uintptr(unsafe.Pointer(&asked))); errno != 0 {
			continue // whoever asked is gone
		}
		answer := seccompAnswer{id: asked.id, errno: -int32(unix.ENOSPC)}
		unix.Syscall(unix.SYS_IOCTL, uintptr(filter), ioctlSend, uintptr(unsafe.Pointer(&answer))) //nolint:errcheck // likewise
	}
}
