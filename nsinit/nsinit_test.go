package nsinit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPID1ArgsNameTheDescriptors(t *testing.T) {
	got := PID1Args(5, 6, []string{"prog", "a b"})
	want := []string{"/proc/self/fd/5", "sandboxrun-pid1", "5", "6", "prog", "a b"}
	if !slices.Equal(got, want) {
		t.Errorf("PID1Args() = %q, want %q", got, want)
	}
}

// startPID1 runs this test binary as PID 1 runs in a sandbox: it takes the
// process over before Go starts.
func startPID1(t *testing.T, attr *syscall.SysProcAttr, program ...string) (*exec.Cmd, *PID1Socket) {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	reader, writer := newSocket(t)
	defer writer.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/fd/3",
		Args:        PID1Args(3, 4, program),
		ExtraFiles:  []*os.File{exe, writer},
		SysProcAttr: attr,
	}
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, reader
}

func newSocket(t *testing.T) (*PID1Socket, *os.File) {
	t.Helper()
	reader, writer, err := NewPID1Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Close() //nolint:errcheck // a test may have closed it
		writer.Close()
	})
	return reader, writer
}

// endOf returns how PID 1 ended and what it printed.
func endOf(t *testing.T, cmd *exec.Cmd) (syscall.WaitStatus, string) {
	t.Helper()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus), cmd.Stdout.(*bytes.Buffer).String()
}

// runPID1 returns what the parent sees and what PID 1 reports.
func runPID1(t *testing.T, program ...string) (seen syscall.WaitStatus, report PID1Report, output string) {
	t.Helper()
	cmd, reader := startPID1(t, nil, program...)
	seen, output = endOf(t, cmd)
	return seen, reader.Read(), output
}

func TestPID1EndsAsTheProgramEnds(t *testing.T) {
	tests := []struct {
		name     string
		program  []string
		code     int
		reported syscall.WaitStatus
	}{
		{"exit code", []string{"sh", "-c", "exit 7"}, 7, 7 << 8},
		{"signal", []string{"sh", "-c", "kill -USR1 $$"}, 128 + int(syscall.SIGUSR1), syscall.WaitStatus(syscall.SIGUSR1)},
		{"not found", []string{"no-such-program"}, 127, 127 << 8},
		{"not executable", []string{"/etc/passwd"}, 126, 126 << 8},
		{"signals are not blocked", []string{"sh", "-c", "grep -q 'SigBlk:.0*$' /proc/self/status"}, 0, 0},
		{"no signal waits", []string{"sh", "-c", "! grep -E '^(SigPnd|ShdPnd):.*[^0\t]' /proc/self/status"}, 0, 0},
		{"descriptors are closed", []string{"sh", "-c", "test ! -e /proc/self/fd/3 && test ! -e /proc/self/fd/4"}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen, report, out := runPID1(t, tt.program...)
			if seen.ExitStatus() != tt.code || !report.Ended || report.Status != tt.reported || report.Program <= 0 {
				t.Errorf("exit code %d, reported %+v; want %d, %#x; output %q", seen.ExitStatus(), report, tt.code, int(tt.reported), out)
			}
		})
	}
}

// The process ID is the reader's, in whatever namespaces the program is.
func TestPID1ReportsTheProgramsProcessID(t *testing.T) {
	ids := []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	for name, attr := range map[string]*syscall.SysProcAttr{
		"same namespaces":        nil,
		"PID namespace":          {Cloneflags: syscall.CLONE_NEWPID},
		"user and PID namespace": {Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID, UidMappings: ids},
	} {
		t.Run(name, func(t *testing.T) {
			if attr != nil && os.Geteuid() != 0 {
				t.Skip("makes namespaces as root")
			}
			// The mount of /proc is this process's, and so are the numbers in it.
			cmd, reader := startPID1(t, attr, "readlink", "/proc/self")
			_, out := endOf(t, cmd)
			want, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				t.Fatal(err)
			}
			if got := reader.Read(); got.Program != want || want == cmd.Process.Pid || !got.Ended {
				t.Errorf("program %d, reported %+v, PID 1 %d", want, got, cmd.Process.Pid)
			}
		})
	}
}

func TestPID1ThatIsKilledHasToldOfTheProgram(t *testing.T) {
	seen, report, out := runPID1(t, "sh", "-c", "echo $$; exec 1>&- 2>&-; kill -KILL $PPID")
	program, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	if want := (PID1Report{Program: program}); report != want || seen.Signal() != syscall.SIGKILL {
		t.Errorf("reported %+v, want %+v; PID 1 ended with %v", report, want, seen)
	}
}

func TestPID1NeedsNoReader(t *testing.T) {
	reader, writer := newSocket(t)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Args = PID1Args(3, 4, []string{"sh", "-c", "exit 7"})
	cmd.ExtraFiles = []*os.File{exe, writer}
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 7 || len(out) > 0 {
		t.Errorf("ended with %v: %s", cmd.ProcessState, out)
	}
}

func TestPID1SocketTakesNoNonsense(t *testing.T) {
	own := os.Getpid()
	status := func(raw uint32) string { return string(binary.NativeEndian.AppendUint32(nil, raw)) }
	for name, tt := range map[string]struct {
		messages []string
		want     PID1Report
	}{
		"nothing":                         {nil, PID1Report{}},
		"both":                            {[]string{"\x00", status(7 << 8)}, PID1Report{Program: own, Ended: true, Status: 7 << 8}},
		"before the exec only":            {[]string{"\x00"}, PID1Report{Program: own}},
		"the end only":                    {[]string{status(9)}, PID1Report{Ended: true, Status: 9}},
		"the program told after its end":  {[]string{status(9), "\x00"}, PID1Report{Ended: true, Status: 9}},
		"neither exited nor signalled":    {[]string{"\x00", status(0x137f)}, PID1Report{Program: own, Status: 0x137f}},
		"too short":                       {[]string{"\x00", "123"}, PID1Report{Program: own}},
		"too long":                        {[]string{"\x00", status(9) + "5"}, PID1Report{Program: own}},
		"a first message of another kind": {[]string{"12345678", "\x00", status(9)}, PID1Report{}},
		"the first that told":             {[]string{"\x00", "\x00"}, PID1Report{Program: own}},
	} {
		reader, writer := newSocket(t)
		for _, message := range tt.messages {
			if _, err := writer.WriteString(message); err != nil {
				t.Fatal(err)
			}
		}
		if got := reader.Read(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// Descriptors that come along are not taken in.
func TestPID1SocketTakesNoDescriptors(t *testing.T) {
	reader, writer := newSocket(t)
	if err := unix.Sendmsg(int(writer.Fd()), []byte{0}, unix.UnixRights(int(writer.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := reader.Read(), (PID1Report{Program: os.Getpid()}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	after, err := os.ReadDir("/proc/self/fd")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d descriptors after, %d before: %v", len(after), len(before), err)
	}
}

func TestPID1ReapsOrphans(t *testing.T) {
	// The orphan is adopted by PID 1, and gone a moment after it has ended.
	const script = `
(sleep 0.05 & echo $! > /proc/self/fd/5) 5>&1 >/dev/null | { read orphan
i=0
while test -e /proc/$orphan; do i=$((i+1)); test $i -lt 400 || { echo "still there:"; cat /proc/$orphan/status; exit 1; }; sleep 0.01; done; }`
	seen, _, out := runPID1(t, "sh", "-c", script)
	if seen.ExitStatus() != 0 {
		t.Errorf("exit code %d: %s", seen.ExitStatus(), strings.TrimSpace(out))
	}
}
