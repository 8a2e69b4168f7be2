package logs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
