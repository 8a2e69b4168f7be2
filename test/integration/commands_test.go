package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

func commands() map[string]scriptCommand {
	all := map[string]func(ts *testscript.TestScript, s *sandbox, args []string) error{
		"bundle":         cmdBundle,
		"spec-edit":      cmdSpecEdit,
		"json":           cmdJSON,
		"exits":          cmdExits,
		"one-line":       cmdOneLine,
		"waitfor":        cmdWaitFor,
		"cpu-share":      cmdCPUShare,
		"nothing-left":   cmdNothingLeft,
		"start":          cmdStart,
		"type":           cmdType,
		"hang-up":        cmdHangUp,
		"resize":         cmdResize,
		"terminal-is":    cmdTerminalIs,
		"signal":         cmdSignal,
		"finish":         cmdFinish,
		"console-socket": cmdConsoleSocket,
	}
	wrapped := map[string]scriptCommand{}
	for name, run := range all {
		wrapped[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("! %s is not supported: say what holds, not what does not", name)
			}
			if err := run(ts, sandboxOf(ts), args); err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return wrapped
}

var errArguments = errors.New("wrong arguments; see doc.go")

func cmdBundle(ts *testscript.TestScript, _ *sandbox, args []string) error {
	if len(args) < 2 {
		return errArguments
	}
	return copyBundle(args[0], ts.MkAbs(args[1]), args[2:]...)
}

// copyBundle makes dir a copy of a sample bundle whose program gets args.
func copyBundle(name, dir string, args ...string) error {
	from := filepath.Join(shared.bundles, name)
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, from))
		if entry.IsDir() {
			return errors.Join(os.MkdirAll(to, 0o755), os.Chmod(to, info.Mode().Perm()|info.Mode()&fs.ModeSticky))
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode().Perm())
	})
	if err != nil || len(args) == 0 {
		return err
	}
	program, err := json.Marshal(append([]string{"/bin/" + name}, args...))
	if err != nil {
		return err
	}
	return editSpec(dir, "process.args="+string(program))
}

func cmdSpecEdit(ts *testscript.TestScript, _ *sandbox, args []string) error {
	if len(args) < 2 {
		return errArguments
	}
	return editSpec(ts.MkAbs(args[0]), args[1:]...)
}

func editSpec(dir string, expressions ...string) error {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document any
	if err := json.Unmarshal(data, &document); err != nil {
		return err
	}
	for _, expression := range expressions {
		if document, err = edit(document, expression); err != nil {
			return err
		}
	}
	if data, err = json.MarshalIndent(document, "", "\t"); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func cmdJSON(ts *testscript.TestScript, _ *sandbox, args []string) error {
	if len(args) < 3 {
		return errArguments
	}
	content := ts.ReadFile(args[0])
	var document any
	if err := json.Unmarshal([]byte(content), &document); err != nil {
		return fmt.Errorf("%s: %w:\n%s", args[0], err, content)
	}
	if args[1] == "keys" {
		return checkKeys(document, args[2], args[3:])
	}
	if len(args) != 4 {
		return errArguments
	}
	value, err := lookUp(document, args[1])
	if err == nil {
		err = compare(value, args[2], args[3])
	}
	if err != nil {
		return fmt.Errorf("%s %w in\n%s", args[1], err, content)
	}
	return nil
}

func checkKeys(document any, path string, want []string) error {
	value, err := lookUp(document, path)
	if err != nil {
		return err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no object: %s", path, text(value))
	}
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(object)); !slices.Equal(have, want) {
		return fmt.Errorf("%s has the members %q, want %q", path, have, want)
	}
	return nil
}

// cmdExits gives the command files and no pipes: a detached container keeps them,
// and must not be waited for.
func cmdExits(ts *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) < 2 {
		return errArguments
	}
	status, err := runToEnd(ts, s, args[1:])
	if err != nil {
		return err
	}
	return checkStatus(status, args[0])
}

func runToEnd(ts *testscript.TestScript, s *sandbox, args []string) (syscall.WaitStatus, error) {
	var outputs [2]*os.File
	for i := range outputs {
		var err error
		if outputs[i], err = os.OpenFile(s.work, unix.O_TMPFILE|os.O_RDWR, 0o600); err != nil {
			return 0, err
		}
		defer outputs[i].Close()
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience(), fmt.Errorf("%q did not end within %v", args, patience()))
	defer cancel()
	program, err := s.program(args[0])
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, program, args[1:]...)
	command.Dir = ts.MkAbs(".")
	command.Env = scriptEnv(ts, s)
	command.Stdout, command.Stderr = outputs[0], outputs[1]
	err = command.Run()
	for i, to := range []io.Writer{ts.Stdout(), ts.Stderr()} {
		if _, err := outputs[i].Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		if _, err := io.Copy(to, outputs[i]); err != nil {
			return 0, err
		}
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if command.ProcessState == nil {
		return 0, err
	}
	return command.ProcessState.Sys().(syscall.WaitStatus), nil
}

// checkStatus compares with an exit code or the name of a signal.
func checkStatus(status syscall.WaitStatus, want string) error {
	have := strconv.Itoa(status.ExitStatus())
	if status.Signaled() {
		have = unix.SignalName(status.Signal())
	}
	if have != want {
		return fmt.Errorf("ended with %s, want %s", have, want)
	}
	return nil
}

func cmdOneLine(ts *testscript.TestScript, _ *sandbox, args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	pattern, err := regexp.Compile(args[0])
	if err != nil {
		return err
	}
	said := ts.ReadFile("stderr")
	if strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
		return fmt.Errorf("stderr is not one line: %q", said)
	}
	if !pattern.MatchString(said) {
		return fmt.Errorf("stderr %q does not match %q", said, args[0])
	}
	return nil
}

func cmdNothingLeft(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 0 {
		return errArguments
	}
	if found := s.leftovers(); len(found) > 0 {
		return fmt.Errorf("left behind:\n\t%s", strings.Join(found, "\n\t"))
	}
	return nil
}

// patience is how long something may take that should be quick. The VM may be
// emulated.
func patience() time.Duration {
	if inVM() {
		return 2 * time.Minute
	}
	return 20 * time.Second
}

// eventually polls until ready returns nil, and returns its last error at the
// deadline.
func eventually(limit time.Duration, ready func() error) error {
	deadline := time.Now().Add(limit)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		<-time.After(wait)
	}
}

func cmdWaitFor(ts *testscript.TestScript, s *sandbox, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "match":
		pattern, err := regexp.Compile("(?m)" + args[2])
		if err != nil {
			return err
		}
		return eventually(patience(), func() error {
			data, err := os.ReadFile(ts.MkAbs(args[1]))
			if err == nil && !pattern.Match(data) {
				err = fmt.Errorf("%s has no match for %q:\n%s", args[1], args[2], data)
			}
			return err
		})
	case len(args) == 3 && args[0] == "status":
		return eventually(patience(), func() error { return checkState(ts, args[1], args[2]) })
	case len(args) > 1 && args[0] == "exec":
		return eventually(patience(), func() error { return ts.Exec(args[1], args[2:]...) })
	case len(args) == 1 && args[0] == "nothing-running":
		return eventually(time.Second, func() error {
			if found := s.processes(); len(found) > 0 {
				return fmt.Errorf("%v", found)
			}
			return nil
		})
	}
	return errArguments
}

func checkState(ts *testscript.TestScript, id, status string) error {
	if err := ts.Exec("sandboxrun", "state", id); err != nil {
		return err
	}
	var state struct{ Status string }
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &state); err != nil {
		return err
	}
	if state.Status != status {
		return fmt.Errorf("container %s is %s", id, state.Status)
	}
	return nil
}
