package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

func TestNewRefusesRootsThatCannotBeOne(t *testing.T) {
	for _, root := range []string{"", "relative/dir", "/", "/..", "/a/.."} {
		if _, err := New(Config{Root: root}); err == nil {
			t.Errorf("New(Root: %q) succeeded", root)
		}
	}
}

func TestValidID(t *testing.T) {
	long := strings.Repeat("a", maxIDLength)
	for id, want := range map[string]bool{
		"a": true, "web-1.2_3+x": true, "a.lock": true, "...": true, "-x": true, long: true,
		"": false, ".": false, "..": false, "a/b": false, "a b": false, "ä": false, "a\x00": false, "a\n": false, long + "a": false,
	} {
		if got := ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestSpecPathsAreTakenFromTheBundle(t *testing.T) {
	spec := &specs.Spec{
		Root: &specs.Root{Path: "rootfs", Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/a", Type: "bind", Source: "data"},
			{Destination: "/b", Source: "../up", Options: []string{"rbind", "ro"}},
			{Destination: "/c", Type: "bind", Source: "/abs"},
			{Destination: "/proc", Type: "proc", Source: "proc"},
		},
	}
	got := withAbsolutePaths(spec, "/bundles/web")
	if got.Root.Path != "/bundles/web/rootfs" || !got.Root.Readonly {
		t.Errorf("root = %+v", *got.Root)
	}
	var sources []string
	for _, m := range got.Mounts {
		sources = append(sources, m.Source)
	}
	if want := []string{"/bundles/web/data", "/bundles/up", "/abs", "proc"}; !slices.Equal(sources, want) {
		t.Errorf("mount sources = %q, want %q", sources, want)
	}
	if spec.Root.Path != "rootfs" || spec.Mounts[0].Source != "data" {
		t.Errorf("the caller's spec was changed: %+v", spec)
	}
}

// The texts are those of libcontainer 1.5.2 for errors of os/exec.LookPath
// inside the sandbox.
func TestStartErrorsAreTold(t *testing.T) {
	const prefix = "unable to start container process: error during container init: "
	tests := []struct {
		text string
		code int // 1: no StartError
	}{
		{`exec: "prog": executable file not found in $PATH`, 127},
		{`exec: "prog": stat prog: no such file or directory`, 127},
		{`exec: "prog": permission denied`, 126},
		{`exec: "prog": is a directory`, 126},
		{`exec: "other": permission denied`, 1},
		{`error mounting "x" to rootfs at "/x": no such file or directory`, 1},
	}
	for _, tt := range tests {
		if got := ExitCode(explainStart("prog", errors.New(prefix+tt.text))); got != tt.code {
			t.Errorf("exit code for %s = %d, want %d", tt.text, got, tt.code)
		}
	}
}

func TestLibcontainersErrorsAreExplained(t *testing.T) {
	tests := []struct{ text, want string }{
		{initFailure + "error mounting \"x\"", "error mounting \"x\""},
		{"container init was OOM-killed (memory limit too low?)", "cannot start: the memory limit is below what starting needs; raise it (container init was OOM-killed (memory limit too low?))"},
		{"unable to start container process: can't get final child's PID from pipe: EOF", "cannot start: " + adviceKilled + " (unable to start container process: can't get final child's PID from pipe: EOF)"},
		{initFailure + "procReady not received", "cannot start: " + adviceKilled + " (procReady not received)"},
	}
	for _, tt := range tests {
		err := errors.New(tt.text)
		got := explainLibcontainer(err)
		if got.Error() != tt.want || !errors.Is(got, err) {
			t.Errorf("explainLibcontainer(%q) = %q", tt.text, got)
		}
	}
}

func TestEndReason(t *testing.T) {
	const none = syscall.Signal(0)
	tests := []struct {
		cause  Reason
		signal syscall.Signal
		oom    bool
		want   Reason
	}{
		{"", none, false, ReasonExited},
		{"", none, true, ReasonExited},                          // a child was taken, the program went on
		{ReasonKilled, none, false, ReasonExited},               // stopped as it was asked to
		{ReasonWallTime, none, false, ReasonExited},             // ended just before it was killed
		{"", syscall.SIGSEGV, false, ReasonSignalled},           // its own fault
		{"", syscall.SIGSEGV, true, ReasonSignalled},            // the OOM killer sends SIGKILL only
		{"", syscall.SIGKILL, false, ReasonSignalled},           // by somebody else
		{"", syscall.SIGKILL, true, ReasonOOM},                  //
		{ReasonWallTime, syscall.SIGKILL, true, ReasonWallTime}, // ours came first
		{ReasonCPUTime, syscall.SIGKILL, false, ReasonCPUTime},
		{ReasonKilled, syscall.SIGTERM, false, ReasonKilled},
	}
	for _, tt := range tests {
		status := ExitStatus{Signal: tt.signal}
		if got := endReason(tt.cause, status, tt.oom); got != tt.want {
			t.Errorf("endReason(%q, %v, oom %v) = %q, want %q", tt.cause, tt.signal, tt.oom, got, tt.want)
		}
	}
}

func TestExitStatusIsTheShells(t *testing.T) {
	for raw, want := range map[syscall.WaitStatus]ExitStatus{
		0:                       {},
		7 << 8:                  {Code: 7},
		255 << 8:                {Code: 255},
		9:                       {Code: 137, Signal: syscall.SIGKILL},
		11 | 0x80 /* dumped */ : {Code: 139, Signal: syscall.SIGSEGV},
	} {
		if got := exitStatus(raw); got != want {
			t.Errorf("exitStatus(%#x) = %+v, want %+v", int(raw), got, want)
		}
	}
}

// A process may call itself what it likes, also something that looks like the
// rest of the line.
func TestProcessFlagsOfAHostileName(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, ") R 1 2 3 (")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(evil, data, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: evil, Args: []string{"sleep", "60"}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	// Start may return a moment before the kernel has cleared the flag.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		flags, err := processFlags(cmd.Process.Pid)
		return flags&forkedWithoutExec == 0, err
	})
	if err != nil {
		t.Errorf("the flags of an executed process say that it was not executed: %v", err)
	}
}

func TestLogrusLevelsBecomeSlogLevels(t *testing.T) {
	for from, want := range map[logrus.Level]slog.Level{
		logrus.PanicLevel: slog.LevelError, logrus.FatalLevel: slog.LevelError, logrus.ErrorLevel: slog.LevelError,
		logrus.WarnLevel: slog.LevelWarn, logrus.InfoLevel: slog.LevelInfo,
		logrus.DebugLevel: slog.LevelDebug, logrus.TraceLevel: slog.LevelDebug,
	} {
		if got := slogLevel(from); got != want {
			t.Errorf("slogLevel(%v) = %v, want %v", from, got, want)
		}
	}
}

func TestRecordOfANewerVersionIsRefused(t *testing.T) {
	r, err := New(Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.makeRoot(), os.Mkdir(r.stateDir("x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`{"version": %d, "cgroups": {"": "/sys/fs/cgroup"}}`, recordVersion+1)
	path := filepath.Join(r.stateDir("x"), recordName)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := r.GC(t.Context(), GCOptions{})
	if !errors.Is(err, ErrNewerState) || len(found) != 0 {
		t.Errorf("GC() = %+v, %v; want ErrNewerState and nothing taken", found, err)
	}
	if err := r.Delete(t.Context(), "x", true); !errors.Is(err, ErrNewerState) {
		t.Errorf("Delete() = %v, want ErrNewerState", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the record was touched: %v", err)
	}
}

func TestRecordSurvivesARoundTrip(t *testing.T) {
	r, err := New(Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := r.readRecord("x"); rec != nil || err != nil {
		t.Errorf("readRecord() of nothing = %+v, %v", rec, err)
	}
	if err := os.MkdirAll(r.stateDir("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := record{Detached: true, Bundle: "/b", Cgroups: map[string]string{"cpu": "/c"}}
	if err := r.writeRecord("x", want); err != nil {
		t.Fatal(err)
	}
	got, err := r.readRecord("x")
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != recordVersion || !got.Detached || got.Bundle != "/b" || got.Cgroups["cpu"] != "/c" {
		t.Errorf("readRecord() = %+v, want %+v", *got, want)
	}
}
