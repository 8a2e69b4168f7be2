package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// waiting is a test that goes on until it is ended.
const waiting = `echo "the test runs" >&2; exec "$WORKLOAD" sleep 1h`

// TestWhatStartedItGoes ends what a user, a terminal or a CI runner has started, in each
// way in which that happens. Nothing runs a second later, and what could undo did.
func TestWhatStartedItGoes(t *testing.T) {
	for _, tt := range some([]struct {
		name string
		// end ends it; the command's pid is that of its process group too.
		end func(pid int) error
		// undone says that the command had time to remove everything itself.
		undone bool
	}{
		{"killed process group", func(pid int) error { return unix.Kill(-pid, unix.SIGKILL) }, false},
		{"process group asked to end", func(pid int) error { return unix.Kill(-pid, unix.SIGTERM) }, true},
		{"killed command line", func(pid int) error { return unix.Kill(pid, unix.SIGKILL) }, false},
		{"hangup", func(pid int) error { return unix.Kill(pid, unix.SIGHUP) }, true},
		{"interrupt", func(pid int) error { return unix.Kill(pid, unix.SIGINT) }, true},
		{"stopped and killed", func(pid int) error {
			return errors.Join(unix.Kill(-pid, unix.SIGSTOP), unix.Kill(-pid, unix.SIGKILL))
		}, false},
	}) {
		for _, command := range []string{"test", "up"} {
			t.Run(tt.name+" of "+command, func(t *testing.T) {
				f := newField(t)
				e := f.newEnviron("parent", len(tt.name))
				c := e.commandThatWaits(command)
				if err := c.start(); err != nil {
					t.Fatal(err)
				}
				e.awaitUp(t, c)
				if err := tt.end(c.cmd.Process.Pid); err != nil {
					t.Fatal(err)
				}
				e.checkEnded(t, c, tt.undone)
			})
		}
	}
}

// commandThatWaits is an environment in the foreground that dies with its parent.
func (e *environ) commandThatWaits(command string) *invocation {
	if command == "up" {
		return e.command("up", "--die-with-parent")
	}
	return e.command("test", "--", "sh", "-c", waiting)
}

// awaitUp waits until the published service answers and what is run runs.
func (e *environ) awaitUp(t *testing.T, c *invocation) {
	t.Helper()
	err := eventually(t.Context(), patient(longest), func() error {
		select {
		case <-c.done:
			t.Fatalf("it ended early: %s", c.said())
		default:
		}
		i, err := e.run("ps", "--format", "json")
		if err != nil {
			return err
		}
		// A test's ports are others, which its command knows.
		if strings.Count(i.stdout.String(), `"ready":true`) != 3 {
			return fmt.Errorf("not ready: %s", i.stdout.String())
		}
		isTest := func(p process) bool {
			return slices.Contains(p.Args, "sleep") && p.Group == "" && p.Args[0] == e.workload
		}
		if slices.Contains(c.cmd.Args, "test") && !slices.ContainsFunc(e.processes(), isTest) {
			return errors.New("its command does not run yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkEnded holds that nothing runs soon, and that nothing is left.
func (e *environ) checkEnded(t *testing.T, c *invocation, undone bool) {
	t.Helper()
	limit := patient(soon)
	if undone {
		limit += patient(3 * soon) // each service may take its grace
	}
	if err := eventually(t.Context(), limit, e.running); err != nil {
		t.Error(err)
	}
	if err := c.wait(); err != nil {
		t.Error(err)
	}
	if !undone {
		e.must("gc")
	}
	if err := e.checkNothing(); err != nil {
		t.Errorf("%v\n%s", err, c.said())
	}
}

// TestATerminalThatIsClosed closes the terminal on which a test runs.
func TestATerminalThatIsClosed(t *testing.T) {
	f := newField(t)
	e := f.newEnviron("terminal", 0)
	master, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	terminal, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	c := e.commandThatWaits("test")
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = terminal, terminal, terminal
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	closing, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		drain(int(master.Fd()), closing)
	}()
	e.awaitUp(t, c)
	close(closing)
	<-read
	if err := errors.Join(terminal.Close(), master.Close()); err != nil {
		t.Fatal(err)
	}
	e.checkEnded(t, c, true)
}

// drain reads from a terminal until closing. It never waits in a read, which would keep
// the terminal open.
func drain(fd int, closing <-chan struct{}) {
	buffer := make([]byte, 4096)
	for {
		select {
		case <-closing:
			return
		default:
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if ready > 0 {
			if _, err := unix.Read(fd, buffer); err != nil {
				return
			}
		}
	}
}

// TestAShellThatIsKilled kills the shell from which a test was started, and nothing else: the
// test goes on to its end, and leaves nothing.
func TestAShellThatIsKilled(t *testing.T) {
	f := newField(t)
	e := f.newEnviron("shell", 0)
	c := e.command("test", "--", "sh", "-c", `touch "$TMPDIR/runs"; while [ -e "$TMPDIR/runs" ]; do sleep 0.02; done`)
	inner := c.cmd.Args
	c.cmd.Path = "/bin/sh"
	// Not the last command: the shell must not replace itself by it.
	c.cmd.Args = append([]string{"sh", "-c", `"$@" >/dev/null 2>&1 & wait`, "sh"}, inner...)
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	flag := f.dir + "/tmp/runs"
	exists := func() error { _, err := os.Stat(flag); return err }
	if err := eventually(t.Context(), patient(longest), exists); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.wait(); err != nil {
		t.Fatal(err)
	}
	if e.running() == nil {
		t.Error("it did not outlive the shell: this proves nothing")
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	if err := eventually(t.Context(), patient(5*soon), e.running); err != nil {
		t.Error(err)
	}
	if err := e.checkNothing(); err != nil {
		t.Error(err)
	}
}
