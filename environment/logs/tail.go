package logs

import "bytes"

// What a tail keeps.
const (
	tailLines = 50
	tailBytes = 16 << 10
	tailLine  = 1 << 10
)

// tail is the last lines of an instance, in memory: they are told when a start fails,
// also with a full disk.
type tail struct {
	lines []string
	bytes int
}

func (t *tail) add(line []byte) {
	if len(line) > tailLine {
		line = append(bytes.Clone(line[:tailLine]), "…"...)
	}
	t.lines = append(t.lines, string(bytes.ToValidUTF8(line, []byte("\uFFFD"))))
	t.bytes += len(t.lines[len(t.lines)-1])
	for len(t.lines) > tailLines || t.bytes > tailBytes {
		t.bytes -= len(t.lines[0])
		t.lines[0] = ""
		t.lines = t.lines[1:]
	}
}

func (t *tail) last(n int) []string {
	n = max(0, min(n, len(t.lines)))
	return append([]string{}, t.lines[len(t.lines)-n:]...)
}
