package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/test/built"
	"github.com/sandboxrun/sandboxrun/test/environments"
)

//nolint:gochecknoglobals // flags of a test binary
var (
	seedFlag  = flag.Uint64("seed", 0, "repeat the random choices of a run; 0 makes new ones")
	roundFlag = flag.Int("round", -1, "strike in this round alone")
)

// Bounds on what has to happen.
const (
	// soon is until what lost its supervisor or its parent is dead.
	soon = time.Second
	// longest is until a command has ended; what takes longer hangs.
	longest = time.Minute
)

// patient gives an emulated machine more time.
func patient(d time.Duration) time.Duration {
	if environments.InVM() {
		return 5 * d
	}
	return d
}

// some is all, and the first, the middle and the last on an emulated machine: it is there
// for the other cgroup version, not for the number.
func some[T any](all []T) []T {
	if !environments.InVM() || len(all) <= 3 {
		return all
	}
	return []T{all[0], all[len(all)/2], all[len(all)-1]}
}

// field is where environments are struck: a state root and a data root.
type field struct {
	tb       testing.TB
	program  string
	workload string
	files    string // directory of the compose files
	dir      string
	roots    environment.Roots
	prefix   string // begins every name
}

func newField(t *testing.T) *field {
	t.Helper()
	environments.RequireRoot(t)
	files, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chaos") //nolint:usetesting // t.TempDir is too long for a control socket's path
	if err != nil {
		t.Fatal(err)
	}
	f := &field{
		tb:       t,
		program:  built.MadeProgram(t),
		workload: filepath.Join(built.MadeBundles(t), "workload/rootfs/bin/workload"),
		files:    files, dir: dir,
		roots:  environment.Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")},
		prefix: filepath.Base(dir),
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.end)
	return f
}

// end looks for all that bears the field's prefix, and removes it.
func (f *field) end() {
	for _, what := range f.trace().Left() {
		f.tb.Errorf("at the end there is %s", what)
	}
	f.sweep()
	if err := os.RemoveAll(f.dir); err != nil {
		f.tb.Error(err)
	}
}

// seed is printed, and can be given to repeat a run.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := *seedFlag
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("-seed %d", n)
	return n
}

// environ is an environment that may be there or not.
type environ struct {
	*field
	name string
	port int // of the host, published
	// with has further compose files.
	with []string
}

func (f *field) named(name string) *environ { return &environ{field: f, name: name} }

// newEnviron gives an environment a name and a port of the host. The port is below those
// that the kernel hands out, so that nobody gets it by chance.
func (f *field) newEnviron(name string, number int) *environ {
	f.tb.Helper()
	e := f.named(f.prefix + "-" + name)
	e.port = 20000 + (os.Getpid()*31+number)%10000
	for ; e.portIsTaken() != nil; e.port++ {
		if e.port > 32000 {
			f.tb.Fatal("no port is free")
		}
	}
	return e
}

func (e *environ) portIsTaken() error {
	listener, err := net.Listen("tcp", e.address())
	if err != nil {
		return err
	}
	return listener.Close()
}

func (e *environ) address() string { return "127.0.0.1:" + strconv.Itoa(e.port) }

// invocation is one command of sandboxrun env, under way or ended.
type invocation struct {
	of     *environ
	cmd    *exec.Cmd
	stdout bytes.Buffer // to be read after done, as all below
	stderr bytes.Buffer
	err    error
	done   chan struct{}
}

// command makes `sandboxrun env ARGS…` for the environment, in a process group of its own.
func (e *environ) command(command string, args ...string) *invocation {
	all := []string{command}
	switch command {
	case "gc":
	case "logs": // its -f is another
		all = append(all, "-p", e.name)
	default:
		all = append(all, "-p", e.name, "-f", filepath.Join(e.files, "compose.yaml"))
		for _, file := range e.with {
			all = append(all, "-f", file)
		}
	}
	if command == "up" {
		all = append(all, "--ttl", "20m") // should the test itself be killed
	}
	i := &invocation{of: e, cmd: environments.Command(context.Background(), e.program, e.roots, append(all, args...)...), done: make(chan struct{})}
	i.cmd.Env = append(os.Environ(),
		marker+"="+e.name, "WORKLOAD="+e.workload, "PORT="+strconv.Itoa(e.port), "PASSWORD=correct horse", "TMPDIR="+filepath.Join(e.dir, "tmp"))
	i.cmd.Stdout, i.cmd.Stderr = &i.stdout, &i.stderr
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What outlives the command must not hold its output.
	i.cmd.WaitDelay = 2 * time.Second
	return i
}

func (i *invocation) start() error {
	if err := i.cmd.Start(); err != nil {
		return err
	}
	go func() {
		i.err = i.cmd.Wait()
		close(i.done)
	}()
	return nil
}

// wait waits for the end. A command that hangs is told to write down what its
// goroutines do, and its supervisor before, for which it may wait.
func (i *invocation) wait() error {
	limit := time.NewTimer(patient(longest))
	defer limit.Stop()
	select {
	case <-i.done:
		if errors.Is(i.err, exec.ErrWaitDelay) {
			return fmt.Errorf("its output was held open after its end: %w", i.err)
		}
		return nil
	case <-limit.C:
	}
	supervisor := i.of.quit()
	i.cmd.Process.Signal(unix.SIGQUIT)                                                    //nolint:errcheck // it may have ended
	time.AfterFunc(5*time.Second, func() { unix.Kill(-i.cmd.Process.Pid, unix.SIGKILL) }) //nolint:errcheck // it may have ended
	<-i.done
	return fmt.Errorf("it hangs: %s\nits supervisor: %s", i.stderr.String(), supervisor)
}

// quit has the supervisor write down what its goroutines do, end, and returns all that
// it said.
func (e *environ) quit() string {
	p, found := e.supervisor()
	if !found {
		return "has ended"
	}
	// What it says may be removed when it has ended.
	messages, err := os.Open(e.roots.Of(e.name).Messages)
	if err != nil {
		return err.Error()
	}
	defer messages.Close()
	err = unix.Kill(p.PID, unix.SIGQUIT)
	ended := func() error {
		if p, found := e.supervisor(); found {
			return fmt.Errorf("%v lives", p)
		}
		return nil
	}
	err = errors.Join(err, eventually(context.Background(), 5*time.Second, ended))
	text, unread := io.ReadAll(messages)
	return fmt.Sprintf("%s%v", text, errors.Join(err, unread))
}

// code is the exit code, 128+n after signal n.
func (i *invocation) code() int {
	if status, ok := i.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return i.cmd.ProcessState.ExitCode()
}

func (i *invocation) said() string {
	return fmt.Sprintf("%v ended with %d:\n%s%s", i.cmd.Args[5:], i.code(), i.stdout.String(), i.stderr.String())
}

// run runs a command to its end, which has to be well.
func (e *environ) run(command string, args ...string) (*invocation, error) {
	i := e.command(command, args...)
	if err := i.start(); err != nil {
		return i, err
	}
	if err := i.wait(); err != nil {
		return i, err
	}
	if i.code() != 0 {
		return i, errors.New(i.said())
	}
	return i, nil
}

func (e *environ) must(command string, args ...string) *invocation {
	e.tb.Helper()
	i, err := e.run(command, args...)
	if err != nil {
		e.tb.Fatalf("%s: %v", e.name, err)
	}
	return i
}

// eventually asks until the answer is nil.
func eventually(ctx context.Context, within time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		case <-again.C:
		}
	}
}

// ask asks the service that is published whether it is well.
func (e *environ) ask() error {
	conn, err := net.DialTimeout("tcp", e.address(), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 1024)
	n, err := conn.Read(answer)
	if err != nil || !bytes.Contains(answer[:n], []byte("200 OK")) {
		return fmt.Errorf("it answers %q: %w", answer[:n], err)
	}
	return nil
}

// parallel calls do for each number below n, two at a time.
func parallel(n int, do func(int)) {
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for number := range numbers {
				do(number)
			}
		})
	}
	for number := range n {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
}
