package runtime_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// manager is a service manager as systemd is one: it reads messages, and
// answers a barrier by closing its descriptor.
type manager struct {
	address  string
	messages chan string
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{address: filepath.Join(t.TempDir(), "s"), messages: make(chan string, 64)}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer, control := make([]byte, 65536), make([]byte, 256)
		for {
			n, controls, _, _, err := socket.ReadMsgUnix(buffer, control)
			if err != nil {
				return
			}
			closeDescriptors(control[:controls])
			m.messages <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() {
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return m
}

func closeDescriptors(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil {
			return
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// next returns the next message.
func (m *manager) next(t *testing.T) string {
	t.Helper()
	select {
	case message := <-m.messages:
		return message
	case <-time.After(20 * time.Second):
		t.Fatal("the manager is told nothing")
		return ""
	}
}

func (m *manager) nothingMore(t *testing.T) {
	t.Helper()
	select {
	case message := <-m.messages:
		t.Errorf("the manager is told %q, too", message)
	default:
	}
}

func TestStartReturnsWhenTheProgramIsReady(t *testing.T) {
	requireRoot(t)
	m := startManager(t)
	rt := newRuntime(t)
	// A hostile program tries to be another process.
	opts := options(t, strings.Repeat("x", 150), "notify", `STATUS=up\nMAINPID=1\nFDSTORE=1\nREADY=1`, "1m")
	opts.NotifySocket = m.address
	c, err := rt.Create(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Delete(t.Context(), opts.ID, true); err != nil {
			t.Error(err)
		}
	}()
	state, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartNotified(t.Context(), m.address); err != nil {
		t.Fatal(err)
	}
	if got, want := m.next(t), "STATUS=up\nREADY=1\nMAINPID="+strconv.Itoa(state.Pid)+"\n"; got != want {
		t.Errorf("the manager is told %q, want %q", got, want)
	}
	if got := m.next(t); got != "BARRIER=1" {
		t.Errorf("the manager is told %q, want a barrier", got)
	}
	m.nothingMore(t)
}

func TestStartReturnsWhenTheProgramEndsUnready(t *testing.T) {
	requireRoot(t)
	m := startManager(t)
	rt := newRuntime(t)
	opts := options(t, "", "notify", "STATUS=going down")
	opts.NotifySocket = m.address
	c, err := rt.Create(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartNotified(t.Context(), m.address); err != nil {
		t.Error(err)
	}
	if got := m.next(t); got != "STATUS=going down\n" {
		t.Errorf("the manager is told %q", got)
	}
	if _, err := c.Wait(); err != nil {
		t.Error(err)
	}
	if err := rt.Delete(t.Context(), opts.ID, false); err != nil {
		t.Error(err)
	}
}

func TestRunPassesEverythingOn(t *testing.T) {
	requireRoot(t)
	m := startManager(t)
	rt := newRuntime(t)
	for _, message := range []string{"READY=1", "STOPPING=1", "MAINPID=1"} {
		opts := options(t, "", "notify", message)
		opts.NotifySocket = m.address
		report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
		if err != nil || report.ExitCode != 0 {
			t.Fatalf("Run() = %+v, %v", report, err)
		}
	}
	// The supervisor is what the manager has to watch.
	for _, want := range []string{"READY=1\nMAINPID=" + strconv.Itoa(os.Getpid()) + "\n", "STOPPING=1\n"} {
		if got := m.next(t); got != want {
			t.Errorf("the manager is told %q, want %q", got, want)
		}
	}
	m.nothingMore(t)
}

func TestNotifySocketsThatCannotBe(t *testing.T) {
	requireRoot(t)
	rt := newRuntime(t)
	for _, address := range []string{"relative", "vsock:2:1"} {
		opts := options(t, "", "true")
		opts.NotifySocket = address
		if _, err := rt.Create(opts); err == nil {
			t.Errorf("Create() with NotifySocket %q succeeded", address)
		}
	}
	opts := options(t, "", "true")
	opts.NotifySocket = filepath.Join(t.TempDir(), "nobody")
	report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
	if err == nil || !errors.Is(err, unix.ENOENT) || report.Reason != runtime.ReasonStartFailed {
		t.Errorf("Run() with nobody to tell = %q, %v", report.Reason, err)
	}
}
