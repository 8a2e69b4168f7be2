package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

// namespaces are what the supervisor is born into; the services' are its to make.
const namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC

// process is the supervisor, seen from outside.
type process struct {
	cmd *exec.Cmd
	// done is closed when it has ended and err is set.
	done chan struct{}
	err  error
}

// start clones the supervisor. It waits for its handover then.
func (b *birth) start(context.Context) (retErr error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe for the handover: %w", err)
	}
	defer reader.Close()
	b.handover = writer
	paths := b.record.Paths()
	messages, err := os.OpenFile(paths.Messages, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("make the supervisor's log: %w", err)
	}
	defer messages.Close()
	birthplace, err := b.groups.birthplace()
	if err != nil {
		return fmt.Errorf("open the supervisor's cgroup: %w", err)
	}
	if birthplace != nil {
		defer birthplace.Close()
	}

	cmd := exec.Command(b.opts.Executable)
	cmd.Args = append(append([]string{"sandboxrun"}, b.opts.Flags...), "env-supervisor", b.record.Name)
	cmd.Dir = "/"
	// Hooks and helpers are found by PATH. Everything else is in the handover.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stderr = messages
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if birthplace != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(birthplace.Fd())
	}
	// The order is that of descriptors.
	cmd.ExtraFiles = []*os.File{reader, b.claim.File(), b.control}
	for _, p := range b.ports {
		cmd.ExtraFiles = append(cmd.ExtraFiles, p.file)
	}
	var lifeline *os.File
	if b.opts.DieWithParent {
		// Ctrl-C is for this process, which asks the supervisor to stop.
		cmd.SysProcAttr.Setpgid = true
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		theirs, ours, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make pipe for the lifeline: %w", err)
		}
		defer theirs.Close()
		lifeline = ours
		cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	} else {
		cmd.SysProcAttr.Setsid = true
	}
	if b.record.Egress != "" {
		host, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("open the host's network namespace: %w", err)
		}
		defer host.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, host)
	}
	b.process, err = startProcess(cmd, lifeline)
	if err != nil {
		return fmt.Errorf("start the environment's supervisor: %w", err)
	}
	return nil
}

// descriptors are the numbers that start's files have in the supervisor.
func (b *birth) descriptors() (d environment.Descriptors, ports []environment.OpenPort) {
	next := environment.HandoverDescriptor + 1
	take := func() int {
		next++
		return next - 1
	}
	d.Lock, d.Control = take(), take()
	for _, p := range b.ports {
		port := p.OpenPort
		port.Descriptor = take()
		ports = append(ports, port)
	}
	if b.opts.DieWithParent {
		d.Lifeline = take()
	}
	if b.record.Egress != "" {
		d.HostNetwork = take()
	}
	return d, ports
}

// startProcess starts cmd and waits for its end in a goroutine that ends with it. The
// lifeline, which may be nil, is closed then.
//
// The signal of Pdeathsig comes when the thread that cloned ends, not the process:
// the goroutine keeps its thread, and takes it with it.
func startProcess(cmd *exec.Cmd, lifeline *os.File) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		if cmd.SysProcAttr.Pdeathsig != 0 {
			runtime.LockOSThread()
		}
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		if lifeline != nil {
			lifeline.Close()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// kill ends the process and waits for its end.
func (p *process) kill() {
	// An error says that it has ended.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// handOver moves the supervisor into its groups, makes the host's half of egress, and
// only then tells it to go on.
func (b *birth) handOver(ctx context.Context) error {
	if err := b.groups.move(b.process.cmd.Process.Pid); err != nil {
		return b.orItsEnd(ctx, err)
	}
	link, err := b.makeEgress()
	if err != nil {
		return b.orItsEnd(ctx, err)
	}
	descriptors, ports := b.descriptors()
	handover := &environment.Handover{
		Plan:          b.opts.Plan,
		Roots:         b.opts.Roots,
		Cgroup:        b.groups.path,
		Secrets:       b.secrets,
		Ports:         ports,
		Descriptors:   descriptors,
		Egress:        link,
		KeepOnFailure: b.opts.KeepOnFailure,
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	// A supervisor that does not read must not hold up whoever has had enough.
	defer context.AfterFunc(ctx, func() { b.handover.Close() })()
	if err := environment.WriteHandover(b.handover, handover); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return b.orItsEnd(ctx, err)
	}
	if err := b.handover.Close(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("hand over to the supervisor: %w", err)
	}
	return nil
}

// makeEgress makes the host's half of egress, into the namespace that the supervisor
// was born into; nil if the plan lets nothing out.
func (b *birth) makeEgress() (*egress.Link, error) {
	if b.record.Egress == "" {
		return nil, nil
	}
	namespace, err := os.Open("/proc/" + strconv.Itoa(b.process.cmd.Process.Pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the environment's network namespace: %w", err)
	}
	defer namespace.Close()
	link, err := egress.Setup(b.record.Egress, namespace)
	if err != nil {
		return nil, err
	}
	b.notices = append(b.notices, link.Notices...)
	return &link, nil
}

// orItsEnd returns err, or how the supervisor ended where that is why.
func (b *birth) orItsEnd(ctx context.Context, err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ESRCH) {
		return b.explainEnd(ctx)
	}
	return err
}

// explainEnd tells how a supervisor ended that has closed its descriptors, by what it
// said at last.
func (b *birth) explainEnd(ctx context.Context) error {
	select {
	case <-b.process.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for the supervisor, which answers nobody: %w", context.Cause(ctx))
	}
	how := "exit code 0"
	if b.process.err != nil {
		how = b.process.err.Error()
	}
	said := lastLines(b.record.Paths().Messages)
	if said == "" {
		return fmt.Errorf("%w (%s) and said nothing", ErrSupervisor, how)
	}
	return fmt.Errorf("%w (%s): %s", ErrSupervisor, how, said)
}

// lastLines returns the last kilobyte of a file, from the beginning of a line.
func lastLines(path string) string {
	const size = 1024
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	from := max(0, info.Size()-size)
	text, err := io.ReadAll(io.NewSectionReader(file, from, size))
	if err != nil {
		return ""
	}
	said := string(text)
	if from > 0 {
		_, said, _ = strings.Cut(said, "\n")
	}
	return strings.TrimSpace(said)
}
