package engines

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// callDeadline is for one call of a client. Under software emulation one that
// starts a container takes 1 s to 10 s and docker-compose 40 s; on a host that
// others keep busy it was eight times that.
const callDeadline = 8 * time.Minute

// client is an engine's command line and how the tests call it.
type client struct {
	argv []string // the program and what comes before each call's arguments
	env  []string
	as   *syscall.Credential // nil for root
}

// answer is what a call came to.
type answer struct {
	code           int
	stdout, stderr string
}

func (c client) command(ctx context.Context, args []string) *exec.Cmd {
	argv := append(append([]string(nil), c.argv...), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = c.env
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	// What a client leaves running may keep its streams open.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// try calls the client and takes any exit code.
func (c client) try(t *testing.T, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callDeadline)
	defer cancel()
	cmd := c.command(ctx, args)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil || errors.Is(err, exec.ErrWaitDelay) || ctx.Err() != nil {
		t.Fatalf("%q: %v\nstdout:\n%s\nstderr:\n%s", cmd.Args, err, &stdout, &stderr)
	}
	t.Logf("%.1f s: %q", time.Since(began).Seconds(), args)
	return answer{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ends calls the client, which must end with code, and returns its stdout.
func (c client) ends(t *testing.T, code int, args ...string) string {
	t.Helper()
	a := c.try(t, args...)
	if a.code != code {
		t.Fatalf("%q: exit code %d, not %d\nstdout:\n%s\nstderr:\n%s", args, a.code, code, a.stdout, a.stderr)
	}
	return strings.TrimSpace(a.stdout)
}

// succeeds calls the client, which must end with 0, and returns its stdout.
func (c client) succeeds(t *testing.T, args ...string) string {
	t.Helper()
	return c.ends(t, 0, args...)
}

// onTerminal calls the client with a controlling terminal of 101 columns and 33
// lines, types input, and returns the exit code and what was on the screen.
func (c client) onTerminal(t *testing.T, input string, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callDeadline)
	defer cancel()
	screen, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	if err := screen.Resize(console.WinSize{Width: 101, Height: 33}); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	cmd := c.command(ctx, args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The last one that has it open is then the client: its end is an EIO here.
	terminal.Close()
	if _, err := io.WriteString(screen, input); err != nil {
		t.Error(err)
	}
	var seen bytes.Buffer
	if _, err := io.Copy(&seen, screen); err != nil && !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return answer{code: cmd.ProcessState.ExitCode(), stdout: seen.String()}
}

// resizedThenTyped is a program for a terminal: it waits until the terminal has
// the size of onTerminal's, reads a line, and tells what it read and where.
const resizedThenTyped = `
i=0
until [ "$(stty size)" = "33 101" ] || [ $i -ge 100 ]; do sleep 0.1; i=$((i+1)); done
stty size
tty
read line
echo "got <$line>"
exit 5`

func (a answer) requireTyped(t *testing.T, line string) {
	t.Helper()
	if a.code != 5 {
		t.Errorf("exit code %d, not the program's 5", a.code)
	}
	for _, want := range []string{"33 101", "/dev/pts/", "got <" + line + ">"} {
		if !strings.Contains(a.stdout, want) {
			t.Errorf("the terminal has no %q:\n%s", want, a.stdout)
		}
	}
}
