package logs

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
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

func TestRotation(t *testing.T) {
	for _, files := range []int{1, 3} {
		dir := t.TempDir()
		w := New(dir, "web-1", Options{MaxSize: 1000, MaxFiles: files})
		const lines = 200
		for i := range lines {
			fmt.Fprintf(w.Stdout(), "line %d\n", i)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != files {
			t.Errorf("files %v, %v, want %d", entries, err, files)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Size() > 1000 || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %d bytes, %v, %v", e.Name(), info.Size(), info.Mode(), err)
			}
		}
		got := readAll(t, dir, Query{Tail: -1})
		for i, line := range got {
			if want := fmt.Sprintf("web-1 stdout line %d", lines-len(got)+i); line != want {
				t.Fatalf("line %d is %q, want %q", i, line, want)
			}
		}
		if len(got) < 10*files/2 {
			t.Errorf("only %d lines are left in %d files", len(got), files)
		}
		if w.Lost() != 0 {
			t.Errorf("%d lines were lost", w.Lost())
		}
	}
}

// TestFullDisk fills a tmpfs: writing goes on, what is lost is counted, and told when
// there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread, and with it the namespace, ends here.
		runtime.LockOSThread()
		done <- fullDisk(dir)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func fullDisk(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	w := New(dir, "web-1", Options{})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<10), 0o600); err != nil {
		return err
	}
	const lines = 100
	for i := range lines {
		fmt.Fprintf(w.Stdout(), "%d %s\n", i, strings.Repeat("x", 500))
	}
	lost := w.Lost()
	if lost == 0 || lost >= lines {
		return fmt.Errorf("%d of %d lines were lost", lost, lines)
	}
	if tail := w.Tail(1); len(tail) != 1 || !strings.HasPrefix(tail[0], "99 ") {
		return fmt.Errorf("the tail is %q", tail)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	fmt.Fprint(w.Stdout(), "room again\n")
	if err := w.Close(); err != nil {
		return err
	}
	var got []string
	if err := Read(context.Background(), dir, Query{Tail: -1}, func(e Entry) error { got = append(got, text(e)); return nil }); err != nil {
		return err
	}
	if n := uint64(len(got)); n != lines-lost+2 {
		return fmt.Errorf("%d lines are there after %d of %d were lost", n, lost, lines)
	}
	notice := fmt.Sprintf("web-1 sandboxrun %d lines were lost: no space left on device", lost)
	if got[len(got)-2] != notice || got[len(got)-1] != "web-1 stdout room again" {
		return fmt.Errorf("the last lines are %q", got[len(got)-2:])
	}
	return unix.Unmount(dir, 0)
}

// TestNoPlaceForLogs has a file where the directory would be.
func TestNoPlaceForLogs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := New(dir, "web-1", Options{})
	fmt.Fprint(w.Stdout(), "a\nb\n")
	if err := w.Close(); err != nil || w.Lost() != 2 {
		t.Errorf("Close() = %v, %d lines lost", err, w.Lost())
	}
	requireLines(t, w.Tail(5), "a", "b")
}

func TestRedactor(t *testing.T) {
	const secret = "p4ss w0rd/\"ü\"+x"
	key := "-----BEGIN KEY-----\nMIIabcdefgh\nlastline\n-----END KEY-----\n"
	r := NewRedactor([]byte(secret+"\n"), []byte("abc"), []byte(key), []byte("overlap"), []byte("lapdance"), nil)
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	tests := map[string]struct{ text, want string }{
		"nothing":          {"nothing to hide", "nothing to hide"},
		"plain":            {"it is " + secret + "!", "it is [redacted]!"},
		"twice":            {secret + secret, "[redacted]"},
		"twice, apart":     {secret + " " + secret, "[redacted] [redacted]"},
		"in a URL's query": {"?p=" + url.QueryEscape(secret) + "&x", "?p=[redacted]&x"},
		"in a URL's path":  {"/" + url.PathEscape(secret) + "/x", "/[redacted]/x"},
		"in JSON":          {`{"p":"p4ss w0rd/\"ü\"+x"}`, `{"p":"[redacted]"}`},
		"in hexadecimal":   {fmt.Sprintf("%x %X", secret, secret), "[redacted] [redacted]"},
		"short":            {"abc is left", "abc is left"},
		"lines of a key":   {"x MIIabcdefgh y lastline", "x [redacted] y [redacted]"},
		"marker of a key":  {"-----BEGIN KEY-----", "-----BEGIN KEY-----"},
		"overlapping":      {"an overlapdance", "an [redacted]"},
		"almost":           {secret[:len(secret)-1], secret[:len(secret)-1]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := r.String(test.text); got != test.want {
				t.Errorf("%q became %q, want %q", test.text, got, test.want)
			}
		})
	}
	if got := r.String("Basic " + encoded); strings.Contains(got, encoded[10:16]) || !strings.Contains(got, replacement) {
		t.Errorf("base64 became %q", got)
	}
	var none *Redactor
	if NewRedactor([]byte("ab"), nil) != none || none.String("ab") != "ab" {
		t.Error("there is something to look for")
	}
}

// TestRedactorFindsBase64Anywhere encodes a secret between other text of all lengths.
func TestRedactorFindsBase64Anywhere(t *testing.T) {
	const secret = "s3cret-of-some-length"
	r := NewRedactor([]byte(secret))
	for before := range 7 {
		for after := range 7 {
			for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				whole := encoding.EncodeToString([]byte(strings.Repeat("<", before) + secret + strings.Repeat(">", after)))
				if got := r.String(whole); !strings.Contains(got, replacement) || len(got) > len(replacement)+(before+after)*4/3+8 {
					t.Errorf("%d before, %d after: %q became %q", before, after, whole, got)
				}
			}
		}
	}
}

// TestRedactionOverWrites prints a secret in pieces, and over the end of a piece of a
// long line.
func TestRedactionOverWrites(t *testing.T) {
	secret := []byte("correct horse battery staple")
	huge := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"), 2000) // 128,000 bytes
	r := NewRedactor(secret, huge)
	dir := t.TempDir()
	var heard bytes.Buffer
	w := New(dir, "web-1", Options{Redactor: r, OnLine: func(_ Stream, line []byte) { heard.Write(line) }})
	for i := range secret {
		fmt.Fprintf(w.Stdout(), "%s", secret[i:i+1])
	}
	fmt.Fprintln(w.Stdout())
	for shift := range len(secret) + 2 {
		fmt.Fprintf(w.Stderr(), "%s%s%s\n", strings.Repeat("-", MaxLine-len(secret)-1+shift), secret, strings.Repeat("-", 10))
	}
	fmt.Fprintf(w.Stdout(), "<%s>\n", huge)
	fmt.Fprintf(w.Stdout(), "%s", secret)
	tail := strings.Join(w.Tail(50), "\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(dir, "web-1.log"))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"the file": string(stored), "the tail": tail, "the hook": heard.String()} {
		for _, piece := range []string{"horse", "staple", "correct", "0123456789abcdef"} {
			if strings.Contains(text, piece) {
				t.Errorf("%s has %q", what, piece)
			}
		}
	}
	if n := strings.Count(string(stored), replacement); n < len(secret)+4 {
		t.Errorf("%d replacements", n)
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add([]byte("secret"), []byte("a secret in a text"), 3)
	f.Add([]byte("aaaa"), []byte("aaaaaaaa"), 1)
	f.Fuzz(func(t *testing.T, secret, text []byte, size int) {
		r := NewRedactor(secret)
		out := r.Bytes(text)
		if trimmed := bytes.TrimSpace(secret); len(trimmed) >= minSecret && !bytes.ContainsRune(trimmed, '\n') {
			// What is left may make the secret anew with the replacement's own letters.
			if !bytes.Contains([]byte(replacement), trimmed[:1]) && !bytes.ContainsAny(trimmed, replacement) && bytes.Contains(out, trimmed) {
				t.Errorf("%q is in %q", trimmed, out)
			}
		}
		if r == nil || len(text) == 0 {
			return
		}
		// Parted anywhere where it may be, a text is redacted as if it were whole.
		size = 1 + max(0, size)%len(text)
		n := r.cut(text[:size])
		if n <= 0 || n > size {
			t.Fatalf("cut() = %d of %d", n, size)
		}
		if n == size && r.unfinished(text[:size]) > 0 {
			return // secrets that overlap all along
		}
		parts := append(bytes.Clone(r.Bytes(text[:n])), r.Bytes(text[n:])...)
		joined := bytes.ReplaceAll(parts, []byte(replacement+replacement), []byte(replacement))
		if !bytes.Contains(text, []byte(replacement)) && !bytes.Equal(joined, bytes.ReplaceAll(out, []byte(replacement+replacement), []byte(replacement))) {
			t.Errorf("%q, parted at %d, became %q instead of %q", text, n, parts, out)
		}
	})
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
