package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// bootLimit is how long a boot may take; under software emulation on a busy
	// host it takes ten seconds.
	bootLimit = 3 * time.Minute
	// powerOffGrace is how long a guest that was told to go may take.
	powerOffGrace = 10 * time.Second
)

// guest is one boot of a machine, from QEMU's start to its end.
type guest struct {
	request
	image   image
	media   media
	scratch string // a directory for QEMU's nameless overlay
	accel   accelerator

	inherited []*os.File // QEMU's descriptors from 3 on
	ours      []*os.File // our ends of its sockets
	theirs    []*os.File // its ends
	console   tail
	spoke     chan struct{} // gets a value when the console said something
}

// boot starts QEMU, leads the guest through the protocol of guest/boot.sh and
// returns when QEMU is gone and every goroutine has ended. The error wraps
// errBoot if nothing had happened yet.
func (g *guest) boot(ctx context.Context) (result, error) {
	g.spoke = make(chan struct{}, 1)
	cmd, streams, err := g.command()
	defer g.close()
	if err != nil {
		return result{}, err
	}
	ended, err := startTied(cmd)
	if err != nil {
		return result{}, fmt.Errorf("cannot start %s: %w; install the packages in test/vm/host-packages.txt", qemu, err)
	}
	closeAll(g.theirs)

	var readers sync.WaitGroup
	outputs := g.copyOutputs(&readers, streams)
	messages := make(chan string)
	stop := make(chan struct{})
	readers.Go(func() { readMessages(streams.control, messages, stop) })

	res, err := g.talk(ctx, streams.control, messages, outputs, ended)
	if !errors.Is(err, errEnded) {
		endQEMU(cmd, ended, err == nil)
	}
	close(stop)
	g.close()
	readers.Wait()
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		if said := g.console.lines(15); said != "" {
			err = fmt.Errorf("%w; the guest's console said last:\n%s", err, said)
		}
	}
	return res, err
}

// streams are our ends of a guest's ports.
type streams struct {
	control, console, stdout, stderr *os.File // console is nil if interactive
}

// command makes QEMU's command and the sockets it inherits.
func (g *guest) command() (*exec.Cmd, streams, error) {
	m := machine{accel: g.accel, memory: g.memory, cpus: 2, kernel: g.image.kernel(), console: -1}
	m.initrd = inheritedPath(g.inherit(g.media.initrd))
	m.drives = []drive{{serial: "root", path: g.image.root(), scratch: true}}
	for _, disk := range []struct {
		serial string
		file   *os.File
	}{{"report", g.media.report}, {"io", g.media.io}, {"host", g.media.host}, {"test", g.media.test}} {
		if disk.file != nil {
			m.drives = append(m.drives, drive{serial: disk.serial, path: inheritedPath(g.inherit(disk.file))})
		}
	}

	var s streams
	ports := []struct {
		name string
		ours **os.File
	}{{"control", &s.control}, {"stdout", &s.stdout}, {"stderr", &s.stderr}, {"console", &s.console}}
	for _, p := range ports {
		if p.name == "console" && g.interactive {
			continue
		}
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, streams{}, err
		}
		*p.ours = ours
		g.ours = append(g.ours, ours)
		g.theirs = append(g.theirs, theirs)
		fd := g.inherit(theirs)
		if p.name == "console" {
			m.console = fd
		} else {
			m.ports = append(m.ports, port{name: p.name, fd: fd})
		}
	}

	cmd := exec.Command(qemu, m.args()...)
	cmd.ExtraFiles = g.inherited
	// Where QEMU makes the overlay's file, which it unlinks at once.
	cmd.Env = append(os.Environ(), "TMPDIR="+g.scratch)
	cmd.Stderr = &g.console
	// A group of its own keeps the terminal's signals from QEMU, which would
	// end before the guest is asked; on the console it has to read from there.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !g.interactive, Pdeathsig: syscall.SIGKILL}
	if g.interactive {
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	}
	return cmd, s, nil
}

// inherit gives QEMU a file and returns its descriptor there.
func (g *guest) inherit(file *os.File) int {
	g.inherited = append(g.inherited, file)
	return 2 + len(g.inherited)
}

// inheritedPath is a path of QEMU's own descriptor.
func inheritedPath(fd int) string {
	return "/proc/self/fd/" + strconv.Itoa(fd)
}

// close closes both ends of the sockets; a second call does nothing.
func (g *guest) close() {
	closeAll(g.ours)
	closeAll(g.theirs)
}

func closeAll(files []*os.File) {
	for _, file := range files {
		file.Close()
	}
}

// endQEMU waits for QEMU's end. A guest that was told to power off gets some
// time for it, since only then QEMU restores the terminal.
func endQEMU(cmd *exec.Cmd, ended <-chan ending, toldToEnd bool) {
	if toldToEnd {
		select {
		case <-ended:
			return
		case <-time.After(powerOffGrace):
		}
	}
	killGroup(cmd)
	// Killed as meant: how it ended says nothing.
	<-ended
}

// copyOutputs passes on what the guest writes. The returned channel gets one
// value for each of the command's two streams, when it has ended.
func (g *guest) copyOutputs(readers *sync.WaitGroup, s streams) <-chan error {
	outputs := make(chan error, 2)
	if g.interactive {
		outputs <- nil
		outputs <- nil
		return outputs
	}
	for _, stream := range []struct {
		to   io.Writer
		from *os.File
	}{{g.stdout, s.stdout}, {g.stderr, s.stderr}} {
		readers.Go(func() {
			_, err := copyUntil(stream.to, stream.from, g.media.token)
			outputs <- err
		})
	}
	readers.Go(func() {
		// The console is for people: what of it gets lost is no error.
		_, _ = io.Copy(io.MultiWriter(&g.console, notifier(g.spoke), g.verbose), s.console)
	})
	return outputs
}

// notifier is a writer that puts a value into the channel if there is room.
type notifier chan<- struct{}

func (n notifier) Write(p []byte) (int, error) {
	select {
	case n <- struct{}{}:
	default:
	}
	return len(p), nil
}

// readMessages passes on the lines that the guest writes to its control port,
// until the port or stop is closed.
func readMessages(control io.Reader, messages chan<- string, stop <-chan struct{}) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		select {
		case messages <- strings.TrimSpace(lines.Text()):
		case <-stop:
			return
		}
	}
}

// errEnded says that QEMU ended by itself.
var errEnded = errors.New("the guest ended before its time")

// talk is the host's side of the protocol. It returns nil when the guest has
// been told to power off, an error that wraps errEnded when it took QEMU's end
// from ended, and any other error when QEMU has to be killed.
func (g *guest) talk(ctx context.Context, control io.Writer, messages <-chan string, outputs <-chan error, ended <-chan ending) (result, error) {
	var res result
	reported := false
	silence := time.NewTimer(g.silence)
	defer silence.Stop()
	// A guest that says the same for ever isn't silent, but doesn't boot.
	boot := time.NewTimer(bootLimit)
	defer boot.Stop()
	for !reported {
		select {
		case message := <-messages:
			verb, rest, _ := strings.Cut(message, " ")
			switch verb {
			case "booted":
				silence.Stop()
				boot.Stop()
				g.spoke = nil
				fmt.Fprintf(control, "go %d\n", commandLimit(time.Now(), g.deadline))
			case "exited":
			case "timed-out":
				res.timedOut = true
			case "reported":
				reported = true
			case "unreported":
				return res, fmt.Errorf("cannot save /out: %s; /out has room for %d MiB", rest, (reportDiskSize-reportTarOffset)>>20)
			default:
				return res, fmt.Errorf("the guest said %q, which is no message", message)
			}
		case <-g.spoke:
			silence.Reset(g.silence)
		case <-silence.C:
			return res, fmt.Errorf("%w: silent for %s", errBoot, g.silence)
		case <-boot.C:
			return res, fmt.Errorf("%w within %s", errBoot, bootLimit)
		case end := <-ended:
			return res, errors.Join(errEnded, end.err)
		case <-ctx.Done():
			return res, context.Cause(ctx)
		}
	}
	code, err := readReport(g.media.report)
	if err != nil {
		return res, err
	}
	res.exitCode = code
	return res, endOutputs(ctx, control, outputs, ended)
}

// endOutputs waits for both output streams, which a slow reader of the harness's
// own output may hold up, and tells the guest to power off. Errors are as
// talk's.
func endOutputs(ctx context.Context, control io.Writer, outputs <-chan error, ended <-chan ending) error {
	for range 2 {
		select {
		case err := <-outputs:
			if err != nil {
				return fmt.Errorf("pass on output: %w", err)
			}
		case end := <-ended:
			return errors.Join(errEnded, end.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	fmt.Fprintln(control, "bye")
	return nil
}

// commandLimit returns how many seconds a command may take so that its output
// and /out can be saved before the deadline; 0 is no limit.
func commandLimit(now, deadline time.Time) int {
	if deadline.IsZero() {
		return 0
	}
	left := deadline.Sub(now)
	reserve := min(left/4, 15*time.Second)
	return max(1, int((left-reserve)/time.Second))
}
