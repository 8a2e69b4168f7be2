package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock gives a second more at each question.
func clock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

// readAll returns what Read shows, as "instance stream line", with "…" after a piece.
func readAll(t *testing.T, dir string, q Query) []string {
	t.Helper()
	var lines []string
	err := Read(t.Context(), dir, q, func(e Entry) error {
		lines = append(lines, text(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func text(e Entry) string {
	end := ""
	if e.Partial {
		end = "…"
	}
	return fmt.Sprintf("%s %s %s%s", e.Instance, e.Stream, e.Line, end)
}

func requireLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWriterCutsLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"whole lines":           {[]string{"a\nb\n"}, []string{"a", "b"}},
		"in pieces":             {[]string{"a", "b", "c\nd", "\n"}, []string{"abc", "d"}},
		"empty lines":           {[]string{"\n", "\na\n"}, []string{"", "", "a"}},
		"no end":                {[]string{"a\nb"}, []string{"a", "b"}},
		"nothing":               {[]string{"", ""}, nil},
		"not UTF-8":             {[]string{"\xff\x00\xfe\n"}, []string{"\xff\x00\xfe"}},
		"control characters":    {[]string{"\"\\\t\r\x00\x1b[31m\x7f\u2028é\n"}, []string{"\"\\\t\r\x00\x1b[31m\x7f\u2028é"}},
		"as long as may be":     {[]string{long + "\n"}, []string{long}},
		"too long by one":       {[]string{long + "y\nz\n"}, []string{long + "…", "y", "z"}},
		"too long, in pieces":   {[]string{long, "y", long + "\n"}, []string{long + "…", "y" + long[1:] + "…", "x"}},
		"too long, end outside": {[]string{long, "\n", "a\n"}, []string{long + "…", "", "a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := New(dir, "web-1", Options{Now: clock()})
			for _, text := range test.writes {
				if n, err := io.WriteString(w.Stdout(), text); n != len(text) || err != nil {
					t.Errorf("Write() = %d, %v", n, err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, line := range test.want {
				want = append(want, "web-1 stdout "+line)
			}
			requireLines(t, readAll(t, dir, Query{Tail: -1}), want...)
		})
	}
}

func TestWriterKeepsStreamsApart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	var seen []string
	w := New(dir, "web-1", Options{Now: clock(), OnLine: func(s Stream, line []byte) { seen = append(seen, string(s)+" "+string(line)) }})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a directory before there is a line: %v", err)
	}
	fmt.Fprint(w.Stdout(), "out ")
	fmt.Fprint(w.Stderr(), "err\nmore ")
	fmt.Fprint(w.Stdout(), "put\n")
	w.Flush()
	w.Note("restarted")
	if _, err := io.Copy(w.Stdout(), strings.NewReader("copied\n")); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w.Stdout(), "after the end\n")
	requireLines(t, readAll(t, dir, Query{Tail: -1}),
		"web-1 stderr err", "web-1 stdout out put", "web-1 stderr more ", "web-1 sandboxrun restarted", "web-1 stdout copied")
	requireLines(t, seen, "stderr err", "stdout out put", "stderr more ", "stdout copied")
	requireLines(t, w.Tail(2), "restarted", "copied")
	requireLines(t, w.Tail(100), "err", "out put", "more ", "restarted", "copied")
	requireLines(t, w.Tail(-1))
}

func TestTailIsBounded(t *testing.T) {
	w := New(t.TempDir(), "web-1", Options{})
	defer w.Close()
	for i := range 1000 {
		fmt.Fprintf(w.Stdout(), "%d %s\n", i, strings.Repeat("x", i*5))
	}
	tail := w.Tail(1000)
	if size := len(strings.Join(tail, "")); len(tail) > tailLines || size > tailBytes {
		t.Errorf("the tail has %d lines of %d bytes", len(tail), size)
	}
	if last := tail[len(tail)-1]; !strings.HasPrefix(last, "999 ") || !strings.HasSuffix(last, "…") {
		t.Errorf("the last line is %.20q", last)
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	times := []time.Time{time.Unix(100, 0), time.Unix(50, 0), time.Unix(200, 0), time.Unix(300, 0)}
	w := New(dir, "web-1", Options{Now: func() time.Time {
		now := times[0]
		times = times[1:]
		return now
	}})
	for range 3 {
		fmt.Fprintln(w.Stdout(), "x")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	var got []int64
	if err := Read(t.Context(), dir, Query{Tail: -1}, func(e Entry) error { got = append(got, e.Time.Unix()); return nil }); err != nil {
		t.Fatal(err)
	}
	if want := []int64{100, 100, 200}; !reflect.DeepEqual(got, want) {
		t.Errorf("times %v, want %v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05.000006Z","stream":"stdout","line":"x"}`))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","stream":"stderr","data":"/w==","partial":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		if e.Time.Year() < 0 || e.Time.Year() > 9999 {
			return
		}
		again, err := Parse(bytes.TrimSuffix(appendEntry(nil, e), []byte("\n")))
		if err != nil || !bytes.Equal(again.Line, e.Line) || again.Stream != e.Stream || again.Partial != e.Partial ||
			!again.Time.Equal(e.Time.Truncate(time.Microsecond)) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}

// FuzzWriter prints any bytes in pieces of any size: they are read as they were.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("a\nb\n\xff"), 2)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		dir := t.TempDir()
		w := New(dir, "x", Options{})
		size = 1 + max(0, size)%4096
		for rest := output; len(rest) > 0; {
			n := min(size, len(rest))
			_, _ = w.Stdout().Write(rest[:n])
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		var got []byte
		err := Read(t.Context(), dir, Query{Tail: -1}, func(e Entry) error {
			got = append(got, e.Line...)
			if !e.Partial {
				got = append(got, '\n')
			}
			return nil
		})
		want := output
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(bytes.Clone(want), '\n')
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q was read as %q, %v", want, got, err)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	w := New(b.TempDir(), "x", Options{Redactor: NewRedactor([]byte("some secret that never comes"))})
	defer w.Close()
	line := []byte(strings.Repeat("127.0.0.1 - - [GET /index.html] 200 ", 3) + "\n")
	chunk := bytes.Repeat(line, 20)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		_, _ = w.Stdout().Write(chunk)
	}
}

func TestWhatIsDiscardedIsHeardAllTheSame(t *testing.T) {
	dir := t.TempDir()
	var heard []string
	w := New(dir, "web-1", Options{Discard: true, OnLine: func(_ Stream, line []byte) { heard = append(heard, string(line)) }, Now: clock()})
	fmt.Fprint(w.Stdout(), "one\ntwo\n")
	fmt.Fprint(w.Stderr(), "three")
	w.Note("four")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	requireLines(t, heard, "one", "two", "three")
	requireLines(t, w.Tail(2), "four", "three")
	if n := w.Lost(); n != 0 {
		t.Errorf("%d lines are lost", n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are made: %v, %v", left, err)
	}
}
