package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// withSockets does what a service manager does for socket activation:
// with-sockets NAMES COMMAND... executes the command with a listening socket
// for each of the names, which have commas between them.
func withSockets() {
	err := execWithSockets(strings.Split(os.Args[1], ","), os.Args[2:])
	fmt.Fprintln(os.Stderr, "with-sockets:", err)
	os.Exit(125)
}

func execWithSockets(names, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	const parked = 100 // above all that the Go runtime has
	for i := range names {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		// An address that the kernel chooses.
		if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			return os.NewSyscallError("listen", err)
		}
		if err := unix.Dup3(fd, parked+i, unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	// No Go code that needs its own descriptors may follow.
	env := append(os.Environ(), "LISTEN_PID="+strconv.Itoa(os.Getpid()), "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	for i := range names {
		if err := unix.Dup3(parked+i, 3+i, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return syscall.Exec(path, args, env)
}

// notifyManager prints what it is told at the socket that it makes, a line a
// message with the newlines in it as spaces: notify-manager SOCKET. Descriptors
// that it gets are closed. SIGTERM ends it.
func notifyManager() {
	if err := printNotifications(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "notify-manager:", err)
		os.Exit(1)
	}
}

func printNotifications(path string) error {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buffer := make([]byte, 4096)
	for {
		// Without room for descriptors: the kernel closes those that came.
		n, err := socket.Read(buffer)
		if err != nil {
			return err
		}
		fmt.Println(strings.ReplaceAll(strings.TrimSpace(string(buffer[:n])), "\n", " "))
	}
}
