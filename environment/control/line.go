package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds a line in either direction, its end not counted.
const MaxLine = 1 << 20

// maxFiles is how many descriptors a request may bring: stdin, stdout, stderr.
const maxFiles = 3

// ParseRequest decodes a Request and checks that it is whole: a known operation
// with its own member and no other.
func ParseRequest(line []byte) (Request, error) {
	var r Request
	if err := decode(line, &r); err != nil {
		return Request{}, fmt.Errorf("request %w", err)
	}
	switch r.Op {
	case OpStatus, OpWatch, OpStats, OpStop, OpExec:
	default:
		return Request{}, fmt.Errorf("request %w: no operation %.40q", ErrBroken, r.Op)
	}
	if (r.Stop != nil) != (r.Op == OpStop) || (r.Exec != nil) != (r.Op == OpExec) {
		return Request{}, fmt.Errorf("request %w: the members do not belong to operation %q", ErrBroken, r.Op)
	}
	if r.Exec != nil && (r.Exec.Service == "" || len(r.Exec.Command) == 0 || r.Exec.Index < 0) {
		return Request{}, fmt.Errorf("request %w: exec needs a service and a command", ErrBroken)
	}
	if r.Stop != nil && r.Stop.Grace != nil && *r.Stop.Grace < 0 {
		return Request{}, fmt.Errorf("request %w: a negative grace period", ErrBroken)
	}
	return r, nil
}

// files is how many descriptors the request has to bring.
func (r *Request) files() int {
	switch {
	case r.Op != OpExec:
		return 0
	case r.Exec.Terminal:
		return 1
	default:
		return maxFiles
	}
}

// ParseReply decodes a Reply and checks that it has exactly one member.
func ParseReply(line []byte) (Reply, error) {
	var r Reply
	if err := decode(line, &r); err != nil {
		return Reply{}, fmt.Errorf("reply %w", err)
	}
	members := 0
	for _, set := range []bool{r.Error != "", r.Status != nil, r.Event != nil, r.Stats != nil, r.Started != nil, r.Exit != nil} {
		if set {
			members++
		}
	}
	if members != 1 {
		return Reply{}, fmt.Errorf("reply %w: %d members", ErrBroken, members)
	}
	return r, nil
}

func decode(line []byte, value any) error {
	if len(line) > MaxLine {
		return fmt.Errorf("%w: %w", ErrBroken, ErrTooLong)
	}
	if err := json.Unmarshal(line, value); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return nil
}

// encode returns value as a line with its end.
func encode(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(data) > MaxLine {
		return nil, ErrTooLong
	}
	return append(data, '\n'), nil
}

// lineReader cuts a stream into lines of bounded length.
type lineReader struct {
	in  io.Reader
	buf []byte // what was read and not returned yet
}

// next returns a line without its end. It is valid until the next call. io.EOF is a
// stream that ends after a line, io.ErrUnexpectedEOF one that ends within.
func (l *lineReader) next() ([]byte, error) {
	searched := 0
	for {
		if i := bytes.IndexByte(l.buf[searched:], '\n'); i >= 0 {
			line := l.buf[:searched+i]
			l.buf = l.buf[searched+i+1:]
			if len(line) > MaxLine {
				return nil, ErrTooLong
			}
			return line, nil
		}
		searched = len(l.buf)
		if searched > MaxLine {
			return nil, ErrTooLong
		}
		if err := l.fill(); err != nil {
			if errors.Is(err, io.EOF) && searched > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func (l *lineReader) fill() error {
	if cap(l.buf)-len(l.buf) < 512 {
		grown := make([]byte, len(l.buf), 2*len(l.buf)+4096)
		copy(grown, l.buf)
		l.buf = grown
	}
	n, err := l.in.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}
