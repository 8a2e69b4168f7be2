package logs

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

const (
	// minSecret is the shortest text that is replaced: shorter ones are in many words.
	minSecret = 4
	// maxPattern is the longest text that is looked for in one piece. A longer one is
	// looked for in pieces, each of which is replaced.
	maxPattern = 4096
)

// replacement takes the place of a secret.
const replacement = "[redacted]"

// Redactor replaces the contents of secrets. It looks for
//
//   - the content, without white space at its ends; where it has several lines, each
//     line of its own but for the markers of PEM ("-----BEGIN …")
//   - the same as a URL and as JSON have it, and in hexadecimal
//   - the same in base64, in both alphabets, wherever it begins within what was
//     encoded ("user:secret" in a header)
//
// Texts of fewer than four bytes are left alone, and so is any other encoding. It is
// immutable and safe for concurrent use; a nil one replaces nothing.
type Redactor struct {
	// patterns by their first four bytes, longest first.
	patterns map[[minSecret]byte][][]byte
	// begins has a bit for the first two bytes of each pattern.
	begins  [1 << 16 / 64]uint64
	longest int
}

// NewRedactor returns a redactor for the contents of secrets, nil if there is
// nothing to look for.
func NewRedactor(contents ...[]byte) *Redactor {
	r := &Redactor{patterns: map[[minSecret]byte][][]byte{}}
	for _, content := range contents {
		text := bytes.TrimSpace(content)
		r.addForms(text)
		if !bytes.ContainsRune(text, '\n') {
			continue
		}
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); !bytes.HasPrefix(line, []byte("-----")) {
				r.addForms(line)
			}
		}
	}
	if r.longest == 0 {
		return nil
	}
	for _, list := range r.patterns {
		slices.SortFunc(list, func(a, b []byte) int { return len(b) - len(a) })
	}
	return r
}

func (r *Redactor) addForms(text []byte) {
	if len(text) < minSecret {
		return
	}
	r.add(text)
	r.add([]byte(url.QueryEscape(string(text))))
	r.add([]byte(url.PathEscape(string(text))))
	r.add(bytes.Trim(appendString(nil, bytes.ToValidUTF8(text, nil)), `"`))
	inHex := hex.EncodeToString(text)
	r.add([]byte(inHex))
	r.add([]byte(strings.ToUpper(inHex)))
	for shift := range 3 {
		r.addBase64(text, shift)
	}
}

// addBase64 adds what stays the same of an encoded text when shift bytes are encoded
// before it and any number after it: characters all of whose six bits are of text.
func (r *Redactor) addBase64(text []byte, shift int) {
	shifted := append(make([]byte, shift), text...)
	first := (shift*8 + 5) / 6
	last := len(shifted) * 8 / 6
	if last-first < minSecret {
		return
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		r.add([]byte(encoding.EncodeToString(shifted)[first:last]))
	}
}

// add adds a pattern, in pieces if it is too long. One with line ends never matches a
// line, and a form that is the same as another is not needed.
func (r *Redactor) add(pattern []byte) {
	if bytes.ContainsRune(pattern, '\n') {
		return
	}
	for len(pattern) > maxPattern {
		// The last piece must not be too short to be looked for.
		cut := min(maxPattern, len(pattern)-minSecret)
		r.addPiece(pattern[:cut])
		pattern = pattern[cut:]
	}
	r.addPiece(pattern)
}

func (r *Redactor) addPiece(piece []byte) {
	if len(piece) < minSecret {
		return
	}
	key := [minSecret]byte(piece)
	if slices.ContainsFunc(r.patterns[key], func(p []byte) bool { return bytes.Equal(p, piece) }) {
		return
	}
	r.patterns[key] = append(r.patterns[key], bytes.Clone(piece))
	pair := beginning(piece)
	r.begins[pair/64] |= 1 << (pair % 64)
	r.longest = max(r.longest, len(piece))
}

func beginning(b []byte) uint { return uint(b[0])<<8 | uint(b[1]) }

// Bytes returns text with every secret replaced. It is text itself if there is none.
func (r *Redactor) Bytes(text []byte) []byte {
	if r == nil {
		return text
	}
	var out []byte
	done := 0          // text[:done] is in out
	from, to := -1, -1 // what is to be replaced next: secrets may overlap
	for i := 0; i+minSecret <= len(text); i++ {
		n := r.match(text[i:])
		if n == 0 {
			continue
		}
		if i > to || from < 0 {
			out, done = replace(out, text, done, from, to)
			from = i
		}
		to = max(to, i+n)
	}
	if from < 0 {
		return text
	}
	out, done = replace(out, text, done, from, to)
	return append(out, text[done:]...)
}

func replace(out, text []byte, done, from, to int) ([]byte, int) {
	if from < 0 {
		return out, done
	}
	out = append(out, text[done:from]...)
	return append(out, replacement...), to
}

// String is Bytes for a string.
func (r *Redactor) String(text string) string {
	if r == nil {
		return text
	}
	return string(r.Bytes([]byte(text)))
}

// match returns the length of the longest pattern that text begins with.
func (r *Redactor) match(text []byte) int {
	pair := beginning(text)
	if r.begins[pair/64]&(1<<(pair%64)) == 0 {
		return 0
	}
	for _, pattern := range r.patterns[[minSecret]byte(text)] {
		if bytes.HasPrefix(text, pattern) {
			return len(pattern)
		}
	}
	return 0
}

// cut returns where text, a piece of a longer one, can be parted without parting a
// secret: neither one that is whole in it, nor one that may go on after it. It is never
// 0: where secrets overlap each other all along, it is the end.
func (r *Redactor) cut(text []byte) int {
	if r == nil {
		return len(text)
	}
	at := len(text) - r.unfinished(text)
	// Secrets that overlap are parted as little as one is.
	from, to := 0, 0
	for i := 0; i < at && i+minSecret <= len(text); i++ {
		n := r.match(text[i:])
		if n > 0 && i >= to {
			from = i
		}
		if n > 0 {
			to = max(to, i+n)
		}
	}
	if to > at {
		at = from
	}
	if at == 0 {
		return len(text)
	}
	return at
}

// unfinished returns how many bytes at the end of text may be the beginning of a
// secret that goes on after it.
func (r *Redactor) unfinished(text []byte) int {
	for n := min(r.longest-1, len(text)); n > 0; n-- {
		if r.isBeginning(text[len(text)-n:]) {
			return n
		}
	}
	return 0
}

func (r *Redactor) isBeginning(text []byte) bool {
	if len(text) >= minSecret {
		return slices.ContainsFunc(r.patterns[[minSecret]byte(text)], func(p []byte) bool { return len(p) > len(text) && bytes.HasPrefix(p, text) })
	}
	for key := range r.patterns {
		if bytes.HasPrefix(key[:], text) {
			return true
		}
	}
	return false
}
