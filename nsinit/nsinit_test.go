package nsinit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestPID1ArgsNameTheDescriptors(t *testing.T) {
	got := PID1Args(5, 6, []string{"prog", "a b"})
	want := []string{"/proc/self/fd/5", "sandboxrun-pid1", "5", "6", "prog", "a b"}
	if !slices.Equal(got, want) {
		t.Errorf("PID1Args() = %q, want %q", got, want)
	}
}

// runPID1 runs this test binary as PID 1 runs in a sandbox: it takes the process
// over before Go starts. It returns what the parent sees and what PID 1 reports.
func runPID1(t *testing.T, program ...string) (seen, reported syscall.WaitStatus, output string) {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var out bytes.Buffer
	cmd := &exec.Cmd{
		Path:       "/proc/self/fd/3",
		Args:       PID1Args(3, 4, program),
		ExtraFiles: []*os.File{exe, writer},
		Stdout:     &out,
		Stderr:     &out,
	}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	var raw int32
	if err := binary.Read(reader, binary.NativeEndian, &raw); err != nil {
		t.Fatalf("read the status that PID 1 reports: %v; output %q", err, out.String())
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus), syscall.WaitStatus(raw), out.String()
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
		{"descriptors are closed", []string{"sh", "-c", "test ! -e /proc/self/fd/3 && test ! -e /proc/self/fd/4"}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seen, reported, out := runPID1(t, tt.program...)
			if seen.ExitStatus() != tt.code || reported != tt.reported {
				t.Errorf("exit code %d, reported %#x; want %d, %#x; output %q", seen.ExitStatus(), int(reported), tt.code, int(tt.reported), out)
			}
		})
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
