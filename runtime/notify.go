package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// How a program in a container talks to the service manager outside
// (sd_notify(3)):
//
//	program --> /run/notify/notify.sock = containers/ID/notify/notify.sock --> us --> $NOTIFY_SOCKET
//
// The manager's own socket is never in the container: it would take other
// messages as well, such as MAINPID of any process, or descriptors to keep.
const (
	notifyMount = "/run/notify"
	notifyName  = "notify.sock"
)

// maxNotification is what is read of one message. systemd takes as much.
const maxNotification = 64 << 10

// barrierTimeout is how long a manager may take to read what was sent to it,
// as with runc. One that does not know BARRIER lets it pass.
const barrierTimeout = 30 * time.Second

func (r *Runtime) notifyDir(id string) string { return filepath.Join(r.stateDir(id), "notify") }

// withNotify returns options whose program finds a socket by NOTIFY_SOCKET. The
// directory is mounted and not the socket, which is not there until the start.
func (r *Runtime) withNotify(opts *CreateOptions) (*CreateOptions, error) {
	if opts.NotifySocket == "" || opts.Spec == nil || opts.Spec.Process == nil {
		return opts, nil
	}
	if opts.NotifySocket[0] != '/' && opts.NotifySocket[0] != '@' {
		return nil, fmt.Errorf("cannot notify %q: it is neither an absolute path nor an abstract socket (@name); correct or unset NOTIFY_SOCKET", opts.NotifySocket)
	}
	adapted := *opts
	adapted.Spec = withEnv(opts.Spec, "NOTIFY_SOCKET="+filepath.Join(notifyMount, notifyName))
	adapted.Spec.Mounts = append(slices.Clone(opts.Spec.Mounts), specs.Mount{
		Destination: notifyMount,
		Source:      r.notifyDir(opts.ID),
		Options:     []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	return &adapted, nil
}

// withEnv returns a copy of spec with more environment for its process.
func withEnv(spec *specs.Spec, env ...string) *specs.Spec {
	changed, process := *spec, *spec.Process
	process.Env = slices.Concat(spec.Process.Env, env)
	changed.Process = &process
	return &changed
}

// makeNotifyDir makes the directory that withNotify mounts. The user of the
// container must be able to pass, whatever our umask.
func (r *Runtime) makeNotifyDir(opts *CreateOptions) error {
	if opts.NotifySocket == "" {
		return nil
	}
	dir := r.notifyDir(opts.ID)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make directory of the notify socket: %w", err)
	}
	return os.Chmod(dir, 0o755)
}

// StartNotified is Start for a container that was created with a NotifySocket:
// it tells the service manager at notifySocket when the program is ready, and
// that it is the main process of the service, and returns then. It returns,
// too, when the program ends before it is ready, or when ctx ends.
//
// Where the container was created without, it is no more than Start.
func (c *Container) StartNotified(ctx context.Context, notifySocket string) error {
	n, err := c.openNotifier(notifySocket)
	if err != nil {
		return err
	}
	if n == nil {
		return c.StartContext(ctx)
	}
	defer n.close()
	state, err := c.lc.State()
	if err != nil {
		return fmt.Errorf("read state of container %q: %w", c.id, err)
	}
	pidfd, err := unix.PidfdOpen(state.InitProcessPid, 0)
	if err != nil {
		return fmt.Errorf("start container %q: %w", c.id, os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(pidfd)
	if err := c.StartContext(ctx); err != nil {
		return err
	}
	n.mainPid = state.InitProcessPid
	return n.untilReady(ctx, pidfd)
}

// notifier passes messages of one container's program on.
type notifier struct {
	in      *net.UnixConn
	out     *net.UnixConn
	log     *slog.Logger
	mainPid int // what the manager is told to watch
	serving sync.WaitGroup
}

// openNotifier binds the container's socket. It returns nil without an error
// if the container has none, or nobody is to be told.
func (c *Container) openNotifier(notifySocket string) (_ *notifier, retErr error) {
	if notifySocket == "" {
		return nil, nil
	}
	dir, err := os.Open(c.runtime.notifyDir(c.id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	n := &notifier{log: c.runtime.log.With("id", c.id)}
	n.out, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: notifySocket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the service manager at NOTIFY_SOCKET %q: %w; unset it if there is none", notifySocket, errors.Unwrap(err))
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, n.out.Close())
		}
	}()
	path := filepath.Join(dir.Name(), notifyName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // of a start that failed
	}
	// By the descriptor: an address has room for 107 bytes only.
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), notifyName)
	n.in, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("make notify socket of container %q: %w", c.id, err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, errors.Join(err, n.in.Close())
	}
	return n, nil
}

func (n *notifier) close() {
	n.in.Close()
	n.out.Close()
}

// serve passes messages on until stop. The manager watches us.
func (n *notifier) serve() {
	n.mainPid = os.Getpid()
	n.serving.Go(func() {
		buffer := make([]byte, maxNotification)
		for {
			length, err := n.in.Read(buffer)
			if err != nil {
				return
			}
			n.pass(buffer[:length])
		}
	})
}

// stop ends serve, passes on what the program said last, and closes n.
func (n *notifier) stop() {
	defer n.close()
	if err := n.in.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return
	}
	n.serving.Wait()
	raw, err := n.in.SyscallConn()
	if err != nil {
		return
	}
	buffer := make([]byte, maxNotification)
	raw.Control(func(fd uintptr) { //nolint:errcheck // closed by nobody but us
		// As many as the kernel queues (net.unix.max_dgram_qlen), by far.
		for range 1024 {
			length, err := unix.Read(int(fd), buffer)
			if err != nil {
				return // EAGAIN: there is no more
			}
			n.pass(buffer[:length])
		}
	})
}

// untilReady passes messages on until the program says that it is ready.
func (n *notifier) untilReady(ctx context.Context, pidfd int) error {
	const look = 100 * time.Millisecond // as often as runc looks for the end
	buffer := make([]byte, maxNotification)
	for {
		if err := n.in.SetReadDeadline(time.Now().Add(look)); err != nil {
			return err
		}
		length, err := n.in.Read(buffer)
		switch {
		case err == nil && n.pass(buffer[:length]):
			return n.barrier()
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("read notify socket: %w", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case hasEnded(pidfd):
			return nil
		}
	}
}

func hasEnded(pidfd int) bool {
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && ready > 0
}

// pass sends on what may be passed on of a message, and says whether the
// program is ready by it.
func (n *notifier) pass(message []byte) (ready bool) {
	lines, ready := filterNotification(string(message))
	if len(lines) == 0 {
		return false
	}
	if ready {
		lines = append(lines, "MAINPID="+strconv.Itoa(n.mainPid))
	}
	if _, err := n.out.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		n.log.Warn("cannot tell the service manager", "error", err)
	}
	return ready
}

// filterNotification keeps the lines that a hostile program may say of itself:
// how it is. Which process is the main one, descriptors to keep, and all that
// asks the manager for something else stays inside.
func filterNotification(message string) (lines []string, ready bool) {
	for line := range strings.SplitSeq(message, "\n") {
		name, value, found := strings.Cut(line, "=")
		if !found || strings.ContainsRune(value, 0) {
			continue
		}
		switch name {
		case "READY":
			if value != "1" {
				continue
			}
			ready = true
		case "RELOADING", "STOPPING":
			if value != "1" {
				continue
			}
		case "WATCHDOG":
			if value != "1" {
				continue // "trigger" has the manager kill the service
			}
		case "STATUS", "MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC":
		default:
			continue
		}
		lines = append(lines, line)
	}
	return lines, ready
}

// barrier waits until the manager has read all that was sent: once we are gone,
// it could no longer tell whose messages they were (sd_notify_barrier(3)). It
// gets the end of a pipe and closes that.
func (n *notifier) barrier() error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make barrier: %w", err)
	}
	defer reader.Close()
	err = n.sendDescriptor("BARRIER=1", writer)
	writer.Close()
	if err != nil {
		n.log.Warn("cannot wait for the service manager", "error", err)
		return nil
	}
	if err := reader.SetReadDeadline(time.Now().Add(barrierTimeout)); err != nil {
		return err
	}
	var end [1]byte
	if _, err := reader.Read(end[:]); !errors.Is(err, io.EOF) {
		n.log.Warn("the service manager did not say that it has read the messages", "error", err)
	}
	return nil
}

// sendDescriptor does what WriteMsgUnix refuses to do on a connected socket.
func (n *notifier) sendDescriptor(message string, file *os.File) error {
	raw, err := n.out.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) (done bool) {
		sendErr = unix.Sendmsg(int(fd), []byte(message), unix.UnixRights(int(file.Fd())), nil, 0)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", sendErr)
}
