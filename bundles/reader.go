package bundles

import (
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// reader reads the plain part of JSON (RFC 8259) in one pass. It gives up, for
// good, at the first thing that is malformed, of another type than asked for, or
// that encoding/json treats in a special way; its results mean nothing then. Every
// reader is made for one document and used by one goroutine.
type reader struct {
	data   []byte
	at     int // offset of the next unread byte
	failed bool
}

func (r *reader) fail() {
	r.failed = true
	// Nothing is left to read: all loops end.
	r.at = len(r.data)
}

// atEnd tells whether the whole document was read without giving up.
func (r *reader) atEnd() bool {
	return r.peek() == 0 && r.at == len(r.data) && !r.failed
}

// peek skips white space and returns the next byte unread, 0 at the end.
func (r *reader) peek() byte {
	for r.at < len(r.data) {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// take reads c if it comes next.
func (r *reader) take(c byte) bool {
	if r.peek() != c || r.at >= len(r.data) {
		return false
	}
	r.at++
	return true
}

func (r *reader) expect(c byte) {
	if !r.take(c) {
		r.fail()
	}
}

// object calls member for each member of the next value, an object; member reads
// the value. It gives up when a name comes twice: encoding/json merges such values.
func (r *reader) object(member func(name string)) {
	var room [16]string
	seen := room[:0]
	r.expect('{')
	if r.take('}') {
		return
	}
	for !r.failed {
		name := r.text()
		r.expect(':')
		if slices.Contains(seen, name) {
			r.fail()
		}
		if r.failed {
			return
		}
		seen = append(seen, name)
		member(name)
		if r.take(',') {
			continue
		}
		r.expect('}')
		return
	}
}

// list reads the next value, an array, by element.
func list[T any](r *reader, element func() T) []T {
	r.expect('[')
	values := []T{}
	if r.take(']') {
		return values
	}
	for !r.failed {
		values = append(values, element())
		if r.take(',') {
			continue
		}
		r.expect(']')
		break
	}
	return values
}

// texts reads the next value, an object of strings. Their names aren't compared
// pairwise, there may be many: of equal ones the last wins, as in encoding/json.
func (r *reader) texts() map[string]string {
	r.expect('{')
	values := map[string]string{}
	if r.take('}') {
		return values
	}
	for !r.failed {
		name := r.text()
		r.expect(':')
		values[name] = r.text()
		if r.take(',') {
			continue
		}
		r.expect('}')
		break
	}
	return values
}

// text reads the next value, a string. It gives up at bytes that aren't UTF-8.
func (r *reader) text() string {
	if !r.take('"') {
		r.fail()
		return ""
	}
	start := r.at
	for r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == '"':
			content := r.data[start:r.at]
			r.at++
			if !utf8.Valid(content) {
				r.fail()
			}
			return string(content)
		case c == '\\':
			return r.escapedText(start - 1)
		case c < ' ':
			r.fail()
			return ""
		}
		r.at++
	}
	r.fail()
	return ""
}

// escapedText reads the rest of a string that began at start, with its quote.
func (r *reader) escapedText(start int) string {
	if !r.skipString(start) {
		return ""
	}
	var text string
	if raw := r.data[start:r.at]; !utf8.Valid(raw) || json.Unmarshal(raw, &text) != nil {
		r.fail()
	}
	return text
}

// skipString moves behind the string that begins at start, with its quote.
func (r *reader) skipString(start int) bool {
	for r.at = start + 1; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			return true
		}
	}
	r.fail()
	return false
}

func (r *reader) boolean() bool {
	switch r.peek() {
	case 't':
		r.word("true")
		return true
	case 'f':
		r.word("false")
		return false
	}
	r.fail()
	return false
}

func (r *reader) word(word string) {
	for i := range len(word) {
		if r.at >= len(r.data) || r.data[r.at] != word[i] {
			r.fail()
			return
		}
		r.at++
	}
}

// integer reads the next value, a number of at most that many bits without fraction
// and exponent.
func (r *reader) integer(bits int) int64 {
	value, err := strconv.ParseInt(r.digits(), 10, bits)
	if err != nil {
		r.fail()
	}
	return value
}

// natural is integer for numbers from 0.
func (r *reader) natural(bits int) uint64 {
	value, err := strconv.ParseUint(r.digits(), 10, bits)
	if err != nil {
		r.fail()
	}
	return value
}

// digits reads an optional minus and digits. What may follow in a number, a
// fraction or an exponent, is left and makes the caller of the caller give up.
func (r *reader) digits() string {
	r.peek()
	start := r.at
	if r.at < len(r.data) && r.data[r.at] == '-' {
		r.at++
	}
	first := r.at
	for r.at < len(r.data) && '0' <= r.data[r.at] && r.data[r.at] <= '9' {
		r.at++
	}
	if r.at-first > 1 && r.data[first] == '0' {
		r.fail()
		return ""
	}
	return string(r.data[start:r.at])
}

// raw reads the next value, an object or array, without looking into it: it ends
// where its brackets are closed. nil is a failure. Null and scalars make it give up.
func (r *reader) raw() []byte {
	if c := r.peek(); c != '{' && c != '[' {
		r.fail()
		return nil
	}
	start, depth := r.at, 0
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				r.at++
				return r.data[start:r.at]
			}
		case '"':
			if !r.skipString(r.at) {
				return nil
			}
			continue
		}
		r.at++
	}
	r.fail()
	return nil
}
