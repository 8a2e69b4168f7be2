package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/console"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// job is a command in the background, or a terminal that came over a socket.
// Only the script's goroutine uses it, besides the copying of output.
type job struct {
	command  *exec.Cmd     // nil for a terminal alone
	ended    chan struct{} // closed when the command has been waited for
	output   chan struct{} // closed when a terminal's output has ended
	input    io.WriteCloser
	terminal console.Console // the master
	slave    *os.File        // keeps the terminal alive, and tells its mode
	mode     unix.Termios    // the slave's mode before the start
	closers  []io.Closer
}

func (s *sandbox) job(name string) (*job, error) {
	if j := s.jobs[name]; j != nil {
		return j, nil
	}
	return nil, fmt.Errorf("there is no job %q", name)
}

func (s *sandbox) addJob(name string) (*job, error) {
	if s.jobs[name] != nil {
		return nil, fmt.Errorf("there is a job %q already", name)
	}
	j := &job{ended: make(chan struct{}), output: make(chan struct{})}
	s.jobs[name] = j
	return j, nil
}

func cmdStart(ts *testscript.TestScript, s *sandbox, args []string) error {
	var stdin, size string
	pipe := false
	switch {
	case len(args) > 2 && args[0] == "-stdin":
		stdin, args = args[1], args[2:]
	case len(args) > 2 && args[0] == "-pty":
		size, args = args[1], args[2:]
	case len(args) > 1 && args[0] == "-pipe":
		pipe, args = true, args[1:]
	}
	if len(args) < 2 {
		return errArguments
	}
	j, err := s.addJob(args[0])
	if err != nil {
		return err
	}
	program, err := s.program(args[1])
	if err != nil {
		return err
	}
	j.command = exec.Command(program, args[2:]...)
	j.command.Dir = ts.MkAbs(".")
	j.command.Env = scriptEnv(ts, s)
	if size != "" {
		err = j.openTerminal(ts.MkAbs(args[0]+".stdout"), size)
	} else {
		err = j.openFiles(ts.MkAbs(args[0]), stdin, pipe)
	}
	if err != nil {
		return err
	}
	return j.start()
}

// program finds a program as the script's PATH does.
func (*sandbox) program(name string) (string, error) {
	if name == "sandboxrun" {
		return filepath.Join(shared.path, name), nil
	}
	return exec.LookPath(name)
}

// scriptEnv is what testscript gives to its own commands, as far as it matters.
func scriptEnv(ts *testscript.TestScript, s *sandbox) []string {
	env := slices.Clone(s.env)
	for _, name := range []string{"PATH", "HOME", "WORK", "TMPDIR"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func (j *job) openFiles(base, stdin string, pipe bool) error {
	for suffix, to := range map[string]*io.Writer{".stdout": &j.command.Stdout, ".stderr": &j.command.Stderr} {
		file, err := os.Create(base + suffix)
		if err != nil {
			return err
		}
		*to = file
		j.closers = append(j.closers, file)
	}
	if stdin != "" {
		file, err := os.Open(filepath.Join(filepath.Dir(base), stdin))
		if err != nil {
			return err
		}
		j.command.Stdin = file
		j.closers = append(j.closers, file)
	}
	if pipe {
		var err error
		if j.input, err = j.command.StdinPipe(); err != nil {
			return err
		}
	}
	close(j.output)
	return nil
}

func (j *job) openTerminal(output, size string) error {
	window, err := parseSize(size)
	if err != nil {
		return err
	}
	master, path, err := console.NewPty()
	if err != nil {
		return err
	}
	if j.slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	j.closers = append(j.closers, master)
	if err := master.Resize(window); err != nil {
		return err
	}
	mode, err := unix.IoctlGetTermios(int(j.slave.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	j.mode = *mode
	j.command.Stdin, j.command.Stdout, j.command.Stderr = j.slave, j.slave, j.slave
	j.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return j.serve(master, output)
}

// serve copies what comes from a terminal's master to a file.
func (j *job) serve(master console.Console, output string) error {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	j.terminal, j.input = master, master
	go func() {
		defer close(j.output)
		defer file.Close()
		io.Copy(file, master) //nolint:errcheck // EIO is how a terminal ends
	}()
	return nil
}

func (j *job) start() error {
	if err := j.command.Start(); err != nil {
		return err
	}
	go func() {
		defer close(j.ended)
		j.command.Wait() //nolint:errcheck // ProcessState says it all
	}()
	return nil
}

func parseSize(size string) (console.WinSize, error) {
	rows, columns, _ := strings.Cut(size, "x")
	height, err1 := strconv.ParseUint(rows, 10, 16)
	width, err2 := strconv.ParseUint(columns, 10, 16)
	return console.WinSize{Height: uint16(height), Width: uint16(width)}, errors.Join(err1, err2)
}

func cmdType(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	if j.input == nil {
		return errors.New("the job has neither a pipe nor a terminal")
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	if err != nil {
		return err
	}
	_, err = io.WriteString(j.input, text)
	return err
}

func cmdHangUp(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	return j.input.Close()
}

func cmdResize(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	window, err := parseSize(args[1])
	if err != nil {
		return err
	}
	return j.terminal.Resize(window)
}

func cmdTerminalIs(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 || args[1] != "raw" && args[1] != "restored" {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	return eventually(patience(), func() error {
		mode, err := unix.IoctlGetTermios(int(j.slave.Fd()), unix.TCGETS)
		if err != nil {
			return err
		}
		isRaw := mode.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0
		if args[1] == "raw" && !isRaw || args[1] == "restored" && *mode != j.mode {
			return fmt.Errorf("local modes %#x, before the start %#x", mode.Lflag, j.mode.Lflag)
		}
		return nil
	})
}

func cmdSignal(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	sig := unix.SignalNum(args[1])
	if sig == 0 {
		return fmt.Errorf("there is no signal %q", args[1])
	}
	return j.command.Process.Signal(sig)
}

func cmdFinish(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	j, err := s.job(args[0])
	if err != nil {
		return err
	}
	if j.command == nil {
		delete(s.jobs, args[0])
		return j.close()
	}
	select {
	case <-j.ended:
	case <-time.After(patience()):
		return fmt.Errorf("it did not end within %v", patience())
	}
	delete(s.jobs, args[0])
	return errors.Join(checkStatus(j.command.ProcessState.Sys().(syscall.WaitStatus), args[1]), j.checkTerminal(), j.close())
}

// checkTerminal: whatever ended the program, the terminal is as it was.
func (j *job) checkTerminal() error {
	if j.slave == nil {
		return nil
	}
	mode, err := unix.IoctlGetTermios(int(j.slave.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	if *mode != j.mode && j.command.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("the terminal is not as before: local modes %#x, before %#x", mode.Lflag, j.mode.Lflag)
	}
	return nil
}

// close ends the output of a terminal and gives everything back.
func (j *job) close() error {
	if j.slave != nil {
		j.slave.Close()
		select {
		case <-j.output: // EIO: nobody has the slave any more
		case <-time.After(patience()):
			return errors.New("somebody still has the terminal open")
		}
	}
	for _, c := range j.closers {
		c.Close()
	}
	return nil
}

// abandon ends a job of a script that failed.
func (j *job) abandon() {
	if j.command != nil && j.command.Process != nil {
		j.command.Process.Kill() //nolint:errcheck // it may have ended
		<-j.ended
	}
	if j.slave != nil {
		j.slave.Close()
	}
	for _, c := range j.closers {
		c.Close()
	}
}

func cmdConsoleSocket(ts *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	j, err := s.addJob(args[0])
	if err != nil {
		return err
	}
	// By way of a directory's descriptor: a socket's path has only 108 bytes.
	path := ts.MkAbs(args[1])
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	j.closers = append(j.closers, listener, dir)
	output := ts.MkAbs(args[0] + ".stdout")
	go func() {
		conn, err := listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		defer conn.Close()
		if err := j.receive(conn, output); err != nil {
			os.WriteFile(output, []byte("console-socket: "+err.Error()+"\n"), 0o644) //nolint:errcheck // the script sees no output then
		}
	}()
	return nil
}

func (j *job) receive(conn *net.UnixConn, output string) error {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), control)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d control messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	master, err := console.ConsoleFromFile(os.NewFile(uintptr(fds[0]), "master"))
	if err != nil {
		return err
	}
	return j.serve(master, output)
}
