package security_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgramThatClearsItsDeathSignal: a program dies with its supervisor because
// the kernel sends it a signal then, and a hostile one may ask the kernel not to.
// With --init the first process is ours, and it takes the PID namespace with it;
// without, gc ends what is left. The control, a program that does not, dies at
// once.
func TestProgramThatClearsItsDeathSignal(t *testing.T) {
	for _, c := range []struct {
		name, attack string
		flags        []string
		survives     bool
	}{
		{"without --init", "clear-pdeathsig", nil, true},
		{"with --init", "clear-pdeathsig", []string{"--init"}, false},
		{"control: a program that leaves it", "sleep", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, withArgs("/bin/attacker", c.attack))
			l := b.start(c.flags...)
			program := b.lastPid()
			fd, err := unix.PidfdOpen(program, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)

			if err := l.command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			// Long where it has to die, short where it has to live on.
			wait := 10 * time.Second
			if c.survives {
				wait = 500 * time.Millisecond
			}
			if survived := !ended(t, fd, wait); survived != c.survives {
				t.Errorf("the program survived its supervisor: %v", survived)
			}
			if o := b.call("gc"); o.code != 0 || !strings.Contains(o.stdout+o.stderr, b.id) {
				t.Errorf("gc: %v", o)
			}
			if !ended(t, fd, 10*time.Second) {
				t.Error("the program survived gc")
			}
			if o := b.call("state", b.id); o.code == 0 {
				t.Errorf("gc left state: %v", o)
			}
		})
	}
}

// lastPid is the program's number on the host: that of the container's youngest
// process, as PID 1 comes before it.
func (b *box) lastPid() int {
	b.t.Helper()
	first := b.pid()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		b.t.Fatal(err)
	}
	child := first
	fmt.Sscan(string(children), &child) //nolint:errcheck // without children it is the first
	return child
}

// ended waits for the end of the process of a pidfd.
func ended(t *testing.T, fd int, patience time.Duration) bool {
	t.Helper()
	until := time.Now().Add(patience)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(until).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
}
