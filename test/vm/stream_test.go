package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCopyUntil(t *testing.T) {
	tests := []struct {
		name, in, want string
		found          bool
	}{
		{"token at the end", "hello<END>", "hello", true},
		{"token alone", "<END>", "", true},
		{"what follows is dropped", "a<END>b", "a", true},
		{"no token", "hello", "hello", false},
		{"half a token", "hello<EN", "hello<EN", false},
		{"a token's beginning inside", "<E<EN<END>", "<E<EN", true},
		{"nothing", "", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, in := range map[string]io.Reader{
				"at once":       strings.NewReader(test.in),
				"byte by byte":  iotest.OneByteReader(strings.NewReader(test.in)),
				"data with EOF": iotest.DataErrReader(strings.NewReader(test.in)),
			} {
				var out bytes.Buffer
				found, err := copyUntil(&out, in, []byte("<END>"))
				if out.String() != test.want || found != test.found || err != nil {
					t.Errorf("%s: got %q, %v, %v, want %q, %v", name, out.String(), found, err, test.want, test.found)
				}
			}
		})
	}
}

func TestCopyUntilHoldsNothingBack(t *testing.T) {
	in, writer := io.Pipe()
	out, passed := io.Pipe()
	go func() {
		_, err := copyUntil(passed, in, []byte("<END>"))
		_ = passed.CloseWithError(err)
	}()
	go func() {
		_, err := writer.Write([]byte("prompt<EN"))
		_ = writer.CloseWithError(err)
	}()
	got := make([]byte, 6)
	if _, err := io.ReadFull(out, got); err != nil || string(got) != "prompt" {
		t.Errorf("got %q, %v before the stream's end", got, err)
	}
	if rest, err := readSome(out); string(rest) != "<EN" || err != nil {
		t.Errorf("got %q, %v at the stream's end", rest, err)
	}
}

func readSome(from io.Reader) ([]byte, error) {
	p := make([]byte, 16)
	n, err := from.Read(p)
	return p[:n], err
}

func TestCopyUntilReadsOnAfterAnError(t *testing.T) {
	broken := errors.New("broken")
	in := strings.NewReader("abc<END>")
	found, err := copyUntil(writerFunc(func([]byte) (int, error) { return 0, broken }), iotest.OneByteReader(in), []byte("<END>"))
	if !found || !errors.Is(err, broken) || in.Len() != 0 {
		t.Errorf("got %v, %v, %d bytes unread", found, err, in.Len())
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
