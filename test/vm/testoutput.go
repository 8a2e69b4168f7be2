package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// testOutput is a writer that takes what the script of testScript writes and
// passes on what go test would have: each binary's output with a last line of
// ok or FAIL, or the events of go test -json.
type testOutput struct {
	to   io.Writer
	mark string // begins a message of the script's
	// convert passes each binary's output through go tool test2json.
	convert bool

	line   []byte    // an unfinished line that may be a message
	binary *exec.Cmd // the converter of the running binary
	input  io.WriteCloser
	pkg    string // the running binary's package; empty between two
}

func newTestOutput(to io.Writer) *testOutput {
	return &testOutput{to: to, mark: "\x01" + rand.Text()}
}

// Write takes whole and partial lines. A message counts wherever in a line it
// begins, since a test need not end its last line.
func (t *testOutput) Write(p []byte) (int, error) {
	t.line = append(t.line, p...)
	for {
		end := bytes.IndexByte(t.line, '\n')
		if end < 0 {
			break
		}
		line := t.line[:end+1]
		at := bytes.Index(line, []byte(t.mark))
		if at < 0 {
			at = len(line)
		}
		if err := t.pass(line[:at]); err != nil {
			return 0, err
		}
		if at < len(line) {
			if err := t.message(string(line[at+len(t.mark):])); err != nil {
				return 0, err
			}
		}
		t.line = t.line[end+1:]
	}
	// What can't become a message is shown before its line ends.
	if !bytes.Contains(t.line, []byte(t.mark[:1])) {
		err := t.pass(t.line)
		t.line = nil
		return len(p), err
	}
	return len(p), nil
}

// pass writes a piece of the running binary's output.
func (t *testOutput) pass(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	to := t.to
	if t.input != nil {
		to = t.input
	}
	_, err := to.Write(piece)
	return err
}

// message acts on a message without its mark.
func (t *testOutput) message(text string) error {
	var pkg string
	var code, milliseconds int
	if _, err := fmt.Sscanf(text, " begin %s\n", &pkg); err == nil {
		return t.begin(pkg)
	}
	if _, err := fmt.Sscanf(text, " end %s %d %d\n", &pkg, &code, &milliseconds); err == nil {
		return t.end(code, float64(milliseconds)/1000)
	}
	return fmt.Errorf("the guest's test script said %q, which is no message", text)
}

func (t *testOutput) begin(pkg string) error {
	t.pkg = pkg
	if !t.convert {
		return nil
	}
	t.binary = exec.Command("go", "tool", "test2json", "-t", "-p", pkg)
	t.binary.Stdout, t.binary.Stderr = t.to, os.Stderr
	t.binary.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := t.binary.StdinPipe()
	if err != nil {
		return err
	}
	t.input = input
	return t.binary.Start()
}

func (t *testOutput) end(code int, seconds float64) error {
	verdict := fmt.Sprintf("ok  \t%s\t%.3fs\n", t.pkg, seconds)
	if code != 0 {
		verdict = fmt.Sprintf("FAIL\nFAIL\t%s\t%.3fs\n", t.pkg, seconds)
		if t.convert {
			// test2json takes a verdict without this for the test's own output.
			verdict = "\x16" + verdict
		}
	}
	t.pkg = ""
	err := t.pass([]byte(verdict))
	if t.input == nil {
		return err
	}
	err = errors.Join(err, t.input.Close(), t.binary.Wait())
	t.input, t.binary = nil, nil
	return err
}

// Close ends the output: a binary that was still running has failed.
func (t *testOutput) Close() error {
	err := t.pass(t.line)
	t.line = nil
	if t.pkg != "" {
		err = errors.Join(err, t.end(1, 0))
	}
	return err
}
