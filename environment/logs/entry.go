package logs

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Stream is where a line was printed.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
	// Own are lines of ours between those of the service: restarts, lost lines.
	Own Stream = "sandboxrun"
)

// MaxLine is how many bytes of a longer line are in one Entry.
const MaxLine = 64 << 10

// maxEncoded bounds an encoded Entry: each byte may take six, as in \u0000.
const maxEncoded = 6*MaxLine + 256

// Entry is one line of output, or a piece of one.
type Entry struct {
	// Instance is the file's, not in it.
	Instance string
	Time     time.Time
	Stream   Stream
	// Line is without its end. It need not be UTF-8.
	Line []byte
	// Partial says that the line goes on in the stream's next entry.
	Partial bool
}

// errDamaged is a line that no Writer has written.
var errDamaged = errors.New("damaged log line")

// stored is an Entry as it is in a file. Exactly one of Line and Data is set.
type stored struct {
	Time    time.Time `json:"time"`
	Stream  Stream    `json:"stream"`
	Line    *string   `json:"line"`
	Data    []byte    `json:"data"` // where it is not UTF-8
	Partial bool      `json:"partial"`
}

// Parse decodes a line of a log file.
func Parse(line []byte) (Entry, error) {
	var s stored
	if len(line) > maxEncoded {
		return Entry{}, fmt.Errorf("%w: more than %d bytes", errDamaged, maxEncoded)
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	e := Entry{Time: s.Time, Stream: s.Stream, Line: s.Data, Partial: s.Partial}
	switch {
	case (s.Line == nil) == (s.Data == nil):
		return Entry{}, fmt.Errorf("%w: it needs one of line and data", errDamaged)
	case s.Stream != Stdout && s.Stream != Stderr && s.Stream != Own:
		return Entry{}, fmt.Errorf("%w: stream %.20q", errDamaged, s.Stream)
	case s.Line != nil:
		e.Line = []byte(*s.Line)
	}
	return e, nil
}

// appendEntry appends e as a line of a log file. It is written out by hand: a service
// may print a hundred thousand lines a second.
func appendEntry(out []byte, e Entry) []byte {
	out = append(out, `{"time":"`...)
	out = e.Time.UTC().AppendFormat(out, "2006-01-02T15:04:05.000000Z07:00")
	out = append(out, `","stream":"`...)
	out = append(out, e.Stream...)
	if utf8.Valid(e.Line) {
		out = append(out, `","line":`...)
		out = appendString(out, e.Line)
	} else {
		out = append(out, `","data":"`...)
		out = base64.StdEncoding.AppendEncode(out, e.Line)
		out = append(out, '"')
	}
	if e.Partial {
		out = append(out, `,"partial":true`...)
	}
	return append(out, '}', '\n')
}

// appendString appends valid UTF-8 as a JSON string.
func appendString(out, text []byte) []byte {
	const digits = "0123456789abcdef"
	out = append(out, '"')
	start := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\t':
			out = append(out, '\\', 't')
		case '\r':
			out = append(out, '\\', 'r')
		default:
			out = append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(out, text[start:]...), '"')
}
