package equivalence_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// die ends a program of the scripts.
func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// shape prints each path in the JSON documents of a file or of stdin with its
// type. Elements of an array share one path.
func shape() {
	input := io.Reader(os.Stdin)
	if len(os.Args) > 1 {
		file, err := os.Open(os.Args[1])
		if err != nil {
			die("shape: %v", err)
		}
		defer file.Close()
		input = file
	}
	decoder := json.NewDecoder(input)
	for {
		var value any
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Println("no JSON")
			return
		}
		lines := shapeOf(".", value)
		slices.Sort(lines)
		fmt.Println(strings.Join(slices.Compact(lines), "\n"))
	}
}

func shapeOf(path string, value any) []string {
	switch v := value.(type) {
	case nil:
		return []string{path + " null"}
	case bool:
		return []string{path + " boolean"}
	case float64:
		return []string{path + " number"}
	case string:
		return []string{path + " string"}
	case []any:
		lines := []string{path + " array"}
		for _, element := range v {
			lines = append(lines, shapeOf(path+"[]", element)...)
		}
		return lines
	case map[string]any:
		lines := []string{path + " object"}
		for key, member := range v {
			lines = append(lines, shapeOf(strings.TrimSuffix(path, ".")+"."+key, member)...)
		}
		return lines
	}
	panic("encoding/json has no other types")
}

// pty runs a command as a shell at a terminal would: pty ROWSxCOLUMNS COMMAND...
func pty() {
	size := &unix.Winsize{}
	if _, err := fmt.Sscanf(os.Args[1], "%dx%d", &size.Row, &size.Col); err != nil {
		die("pty: %v", err)
	}
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		die("pty: %v", err)
	}
	fd := int(ptmx.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		die("pty: %v", err)
	}
	if err := errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size)); err != nil {
		die("pty: %v", err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		die("pty: %v", err)
	}
	command := exec.Command(os.Args[2], os.Args[3:]...)
	command.Stdin, command.Stdout, command.Stderr = terminal, terminal, terminal
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := command.Start(); err != nil {
		die("pty: %v", err)
	}
	terminal.Close()
	// It ends by EIO with the last user of the terminal.
	io.Copy(os.Stdout, ptmx) //nolint:errcheck // see above
	command.Wait()           //nolint:errcheck // the code is what counts
	os.Exit(command.ProcessState.ExitCode())
}

// receive listens at the path in the first argument and returns the descriptor
// that is sent there.
func receive() *os.File {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		die("receive: %v", err)
	}
	defer listener.Close()
	// A runtime that never connects must not hold up the script.
	if err := listener.(*net.UnixListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		die("receive: %v", err)
	}
	conn, err := listener.Accept()
	if err != nil {
		die("receive: %v", err)
	}
	defer conn.Close()
	text, control := make([]byte, 4096), make([]byte, 4096)
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(text, control)
	if err != nil {
		die("receive: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		die("receive: %d control messages: %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		die("receive: %d descriptors: %v", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "received")
}

// receiveConsole prints what is written to a received terminal.
func receiveConsole() {
	terminal := receive()
	size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		die("console: %v", err)
	}
	fmt.Printf("received a terminal of %dx%d\n", size.Row, size.Col)
	io.Copy(os.Stdout, terminal) //nolint:errcheck // it ends by EIO
}

// receivePidfd tells whether the received descriptor is that of a live process.
func receivePidfd() {
	process := receive()
	fmt.Println("received", unix.PidfdSendSignal(int(process.Fd()), 0, nil, 0) == nil)
}
