package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExec(t *testing.T) {
	h := &fakeHandler{exec: func(_ context.Context, r ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 7})
		input, err := io.ReadAll(files[0])
		if err != nil {
			return ExecExit{}, err
		}
		fmt.Fprintf(files[1], "%s %s %s", r.Service, r.Command, input)
		fmt.Fprint(files[2], "error")
		return ExecExit{Code: 137}, nil
	}}
	_, client := serve(t, h)
	in, out, errs := tempFile(t, "input"), tempFile(t, ""), tempFile(t, "")
	pid := 0
	code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a", "b"}},
		Streams{In: in, Out: out, Err: errs, Started: func(s ExecStarted) { pid = s.Pid }})
	if err != nil || code != 137 || pid != 7 {
		t.Errorf("Exec() = %d, %v, pid %d", code, err, pid)
	}
	if got := content(t, out) + "|" + content(t, errs); got != "web [a b] input|error" {
		t.Errorf("output %q", got)
	}
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}}, Streams{In: in, Out: out}); err == nil {
		t.Error("a missing stream was taken")
	}
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, _ func(ExecStarted)) (ExecExit, error) {
		closeAll(files)
		return ExecExit{}, errors.New("no such service")
	}})
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "x", Command: []string{"a"}}, Streams{In: in, Out: out, Err: errs}); err == nil || err.Error() != "no such service" {
		t.Errorf("Exec() = %v", err)
	}
}

// TestExecEndsWithItsClient cancels: the handler is told to kill the command.
func TestExecEndsWithItsClient(t *testing.T) {
	killed := make(chan struct{})
	h := &fakeHandler{exec: func(ctx context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 1})
		<-ctx.Done()
		close(killed)
		return ExecExit{Code: 137}, nil
	}}
	_, client := serve(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	file := tempFile(t, "")
	_, err := client.Exec(ctx, ExecRequest{Service: "web", Command: []string{"a"}}, Streams{In: file, Out: file, Err: file, Started: func(ExecStarted) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Exec() = %v", err)
	}
	<-killed
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		started(ExecStarted{Pid: 1})
		return ExecExit{}, nil
	}})
	code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Detach: true}, Streams{In: file, Out: file, Err: file})
	if err != nil || code != 0 {
		t.Errorf("detached: %d, %v", code, err)
	}
}

// TestExecTerminal sends a file where a terminal's master would be. However soon the
// command ends, its output is read.
func TestExecTerminal(t *testing.T) {
	h := &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, started func(ExecStarted)) (ExecExit, error) {
		defer closeAll(files)
		master := tempFile(t, "output")
		fd, err := descriptor(files[0])
		if err != nil {
			return ExecExit{}, err
		}
		if err := unix.Sendmsg(fd, []byte("/dev/ptmx"), unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
			return ExecExit{}, err
		}
		started(ExecStarted{Pid: 1})
		return ExecExit{Code: 3}, nil
	}}
	_, client := serve(t, h)
	for range 50 {
		got := ""
		code, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Terminal: true}, Streams{Terminal: func(master *os.File) {
			defer master.Close()
			got = content(t, master)
		}})
		if err != nil || code != 3 || got != "output" {
			t.Fatalf("Exec() = %d, %v, output %q", code, err, got)
		}
	}
	_, client = serve(t, &fakeHandler{exec: func(_ context.Context, _ ExecRequest, files []*os.File, _ func(ExecStarted)) (ExecExit, error) {
		closeAll(files)
		return ExecExit{}, errors.New("no terminal")
	}})
	if _, err := client.Exec(t.Context(), ExecRequest{Service: "web", Command: []string{"a"}, Terminal: true}, Streams{}); err == nil || err.Error() != "no terminal" {
		t.Errorf("Exec() = %v", err)
	}
}

func tempFile(t *testing.T, text string) *os.File {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return file
}

func content(t *testing.T, file *os.File) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
