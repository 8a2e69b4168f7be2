package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// asProgram makes the test binary be the program.
const asProgram = "SANDBOXRUN_TEST_WORKLOAD"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		// What env prints should be what the test gave.
		if err := os.Unsetenv(asProgram); err != nil {
			panic(err)
		}
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	command.Env = []string{asProgram + "=1", "A=1"}
	return command
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	text, disk := filepath.Join(dir, "text"), filepath.Join(dir, "disk")
	if err := os.WriteFile(text, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Both outputs are expressions for the whole text.
	tests := []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"true"}, 0, "", ""},
		{[]string{"false"}, 1, "", ""},
		{[]string{"exit", "42"}, 42, "", ""},
		{[]string{"exit", "256"}, 2, "", "workload: wrong use: exit codes are from 0 to 255; usage: workload exit N\n"},
		{[]string{"exit"}, 2, "", "workload: wrong use: 0 arguments; usage: workload exit N\n"},
		{[]string{}, 2, "", "workload: wrong use: name a command: true, .*\n"},
		{[]string{"bogus"}, 2, "", `workload: wrong use: unknown command "bogus": name one of true, .*\n`},
		{[]string{"help"}, 0, `true +exit with 0\n(.+\n)+`, ""},
		{[]string{"sleep", "0.01"}, 0, "", ""},
		{[]string{"sleep", "1ms"}, 0, "", ""},
		{[]string{"sleep", "soon"}, 2, "", `workload: wrong use: "soon" is not a duration; usage: .*\n`},
		{[]string{"env"}, 0, "A=1\n", ""},
		{[]string{"args", "a b", "", "\n"}, 0, `"a b"\n""\n"\\n"\n`, ""},
		{[]string{"cat", text, text}, 0, "content\ncontent\n", ""},
		{[]string{"cat", "/nowhere"}, 1, "", "workload: open /nowhere: no such file or directory\n"},
		{[]string{"burn", "0.02", "2"}, 0, `wall_seconds 0\.\d{3}\ncpu_seconds 0\.\d{3}\n`, ""},
		{[]string{"hog", "1M"}, 0, "touched_bytes 1048576\n", ""},
		{[]string{"hog", "x"}, 2, "", `workload: wrong use: "x" is not a number of bytes; .*\n`},
		{[]string{"cpus"}, 0, `count \d+\ncpus \d+(,\d+)*\n`, ""},
		{[]string{"fork", "5"}, 0, "started 5\n", ""},
		{[]string{"write", disk, "3M"}, 0, `bytes 3145728\nseconds \d+\.\d{3}\n`, ""},
		{[]string{"write", disk, "5", "direct"}, 2, "", "workload: wrong use: with direct, BYTES must be a multiple of 4096; .*\n"},
		{[]string{"read", disk}, 0, `bytes 3145728\nseconds \d+\.\d{3}\n`, ""},
		{[]string{"read", disk, "x"}, 2, "", `workload: wrong use: "x" is not "direct"; .*\n`},
		{[]string{"tty"}, 0, "0 no tty \\(ENOTTY\\)\n1 no tty \\(ENOTTY\\)\n2 no tty \\(ENOTTY\\)\n", ""},
		{[]string{"status"}, 0, `(?s)Umask.*CapEff [0-9a-f]{16}\n.*NoNewPrivs [01]\nSeccomp [012]\n.*`, ""},
		{[]string{"signal", "trap"}, 2, "", "workload: wrong use: trap; usage: .*\n"},
		{[]string{"suicide", "NONE"}, 2, "", `workload: wrong use: "NONE" is not a (number|signal); .*\n`},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			command := program(t, test.args...)
			var stdout, stderr bytes.Buffer
			command.Stdout, command.Stderr = &stdout, &stderr
			err := command.Run()
			if code := command.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d (%v), want %d", code, err, test.code)
			}
			requireMatch(t, "stdout", stdout.String(), test.stdout)
			requireMatch(t, "stderr", stderr.String(), test.stderr)
		})
	}
}

// TestFds wants what was given and nothing of the program's own. The test's
// environment may hand down more, with higher numbers.
func TestFds(t *testing.T) {
	given, err := os.CreateTemp(t.TempDir(), "given")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	command := program(t, "fds")
	command.ExtraFiles = []*os.File{given}
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	requireMatch(t, "stdout", string(out), `0 /dev/null\n1 pipe:\[\d+\]\n2 .*\n3 `+regexp.QuoteMeta(given.Name())+`\n(\d+ .*\n)*`)
	if regexp.MustCompile(`/proc/|eventpoll|eventfd|cgroup`).Match(out) {
		t.Errorf("descriptors of the program itself: %s", out)
	}
}

func TestSuicide(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL, "6": syscall.SIGABRT, "SEGV": syscall.SIGSEGV} {
		t.Run(name, func(t *testing.T) {
			command := program(t, "suicide", name)
			// No core file in the working directory.
			command.Dir = t.TempDir()
			err := command.Run()
			var exitErr *exec.ExitError
			if !errors.As(err, &exitErr) {
				t.Fatalf("got %v", err)
			}
			if status := exitErr.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != want {
				t.Errorf("got %v, want %v", exitErr, want)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	command := program(t, "signal", "trap", "TERM", "exit", "7")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("got %q (%v), want %q", lines.Text(), lines.Err(), want)
		}
	}
	next("ready")
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGTERM} {
		if err := command.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		next(signalName(s))
	}
	_ = command.Wait()
	if code := command.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
}

// TestZombie runs as PID 1 of a PID namespace, which nobody reaps.
func TestZombie(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a PID namespace")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount-proc", exe, "zombie", "3")
	command.Env = []string{asProgram + "=1", "PATH=" + os.Getenv("PATH")}
	out, err := command.CombinedOutput()
	if want := "orphans 3\nzombies 3\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "10": 10, "1K": 1 << 10, "64M": 64 << 20, "2G": 2 << 30} {
		if got, err := size(text); err != nil || got != want {
			t.Errorf("size(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "K", "1.5M", "1T", "9999999999999G"} {
		if got, err := size(text); !errors.Is(err, errUsage) {
			t.Errorf("size(%q) = %d, %v; want an error", text, got, err)
		}
	}
}

func requireMatch(t *testing.T, what, got, expression string) {
	t.Helper()
	if !regexp.MustCompile("^(?:" + expression + ")$").MatchString(got) {
		t.Errorf("%s: got %q, want %q", what, got, expression)
	}
}
