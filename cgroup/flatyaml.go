package cgroup

import (
	"strings"
)

// readFlatYAML reads the flat part of YAML 1.2: "key: value" lines without indentation, a value being a
// plain scalar, a 'single quoted' one, a "double quoted" one without backslashes, or a list, written
// as "- item" lines below the key or as [item, item] on its line; comments; blank lines; one "---"
// at the start. Everything else is an error. What it accepts, a YAML library reads alike: a fuzz
// test compares the two.
func readFlatYAML(data []byte, set func(entry) error) error {
	p := yamlReader{set: set, seen: map[string]bool{}}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if err := p.line(number, line); err != nil {
			return err
		}
	}
	return p.finish()
}

type yamlReader struct {
	set  func(entry) error
	seen map[string]bool
	// open is the entry whose list items may follow; nil after a scalar.
	open *entry
	// indent is that of the open list's first item.
	indent int
	// started says that something else than comments was seen, so that "---" is not allowed any more.
	started bool
}

func (p *yamlReader) line(number int, line string) error {
	for _, c := range line {
		if c != '\t' && (c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0) || c == '\u2028' || c == '\u2029' || c == '\ufeff' || c >= 0xfffe) {
			return atLine(number, "control character %q", c)
		}
	}
	content := strings.TrimLeft(line, " ")
	indent := len(line) - len(content)
	switch {
	case content == "" || content[0] == '#':
		return nil
	case content[0] == '\t':
		return atLine(number, "a tab before the text; indent with spaces")
	case !p.started && indent == 0 && strings.TrimRight(content, " ") == "---":
		p.started = true
		return nil
	}
	p.started = true
	if content == "-" || strings.HasPrefix(content, "- ") {
		return p.item(number, indent, content)
	}
	if indent > 0 {
		return atLine(number, "unexpected indentation; a limit file is flat: write each `key: value` at the start of a line")
	}
	return p.key(number, content)
}

func (p *yamlReader) item(number, indent int, content string) error {
	if p.open == nil {
		return atLine(number, "a list item that belongs to no key")
	}
	if len(p.open.values) == 0 {
		p.indent = indent
	}
	if indent != p.indent {
		return atLine(number, "list items have to be indented alike")
	}
	value, rest, err := yamlScalar(number, strings.TrimLeft(content[1:], " "), false)
	if err != nil {
		return err
	}
	if err := onlyComment(number, rest); err != nil {
		return err
	}
	p.open.values = append(p.open.values, value)
	return nil
}

func (p *yamlReader) key(number int, content string) error {
	if err := p.finish(); err != nil {
		return err
	}
	end := 0
	for end < len(content) && (content[end] == '_' || content[end] >= 'a' && content[end] <= 'z') {
		end++
	}
	key, rest := content[:end], strings.TrimLeft(content[end:], " ")
	if !strings.HasPrefix(rest, ":") || (len(rest) > 1 && rest[1] != ' ') || key == "" {
		return atLine(number, "no `key: value`; known keys: %s", limitKeys)
	}
	if p.seen[key] {
		return atLine(number, "%q is given twice", key)
	}
	p.seen[key] = true
	e := entry{line: number, key: key}
	rest = strings.TrimLeft(rest[1:], " ")
	if rest == "" || rest[0] == '#' {
		e.isList = true
		p.open = &e
		return nil
	}
	var err error
	if rest[0] == '[' {
		e.isList = true
		e.values, rest, err = yamlFlowList(number, rest[1:])
	} else {
		var value string
		value, rest, err = yamlScalar(number, rest, false)
		e.values = []string{value}
	}
	if err != nil {
		return err
	}
	if err := onlyComment(number, rest); err != nil {
		return err
	}
	return p.set(e)
}

// finish hands over the list that was open.
func (p *yamlReader) finish() error {
	if p.open == nil {
		return nil
	}
	e := *p.open
	p.open = nil
	if len(e.values) == 0 {
		return e.errorf("%q has no value", e.key)
	}
	return p.set(e)
}

// yamlScalar reads one scalar at the start of s and returns what follows it.
func yamlScalar(number int, s string, inFlow bool) (value, rest string, err error) {
	if s == "" || s[0] == '#' {
		return "", "", atLine(number, "a value is missing")
	}
	switch s[0] {
	case '"':
		end := strings.IndexByte(s[1:], '"')
		if end < 0 {
			return "", "", atLine(number, "a quotation mark isn't closed on its line")
		}
		value = s[1 : 1+end]
		if strings.ContainsRune(value, '\\') {
			return "", "", atLine(number, "backslashes in double quotes are not supported; use single quotes")
		}
		return value, s[end+2:], nil
	case '\'':
		return yamlSingleQuoted(number, s)
	}
	return yamlPlain(number, s, inFlow)
}

func yamlSingleQuoted(number int, s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), s[i+1:], nil
	}
	return "", "", atLine(number, "a quotation mark isn't closed on its line")
}

// yamlPlain reads a scalar without quotes. Characters with a meaning in YAML are refused where they have
// one, and tabs everywhere.
func yamlPlain(number int, s string, inFlow bool) (value, rest string, err error) {
	if strings.IndexByte("&*!|>%@`{}[],?:-\t", s[0]) >= 0 {
		// Of these only "-1" may begin a plain scalar here: YAML gives the others a meaning.
		if s[0] != '-' || len(s) < 2 || s[1] < '0' || s[1] > '9' {
			return "", "", atLine(number, "a value may not begin with %q; put it in single quotes", s[0])
		}
	}
	end := len(s)
	for i := range len(s) {
		c := s[i]
		if c == '\t' {
			return "", "", atLine(number, "a tab in a value; use spaces or quotes")
		}
		if c == '#' && s[i-1] == ' ' {
			end = i
			break
		}
		if c == ':' && (i+1 == len(s) || s[i+1] == ' ' || (inFlow && strings.IndexByte(",[]{}", s[i+1]) >= 0)) {
			return "", "", atLine(number, "a colon before a space or at the end; put the value in single quotes")
		}
		if inFlow && (c == ',' || c == ']') {
			end = i
			break
		}
		if inFlow && (c == '[' || c == '{' || c == '}') {
			return "", "", atLine(number, "%q in a list; put the item in single quotes", c)
		}
	}
	value = strings.TrimRight(s[:end], " ")
	if value == "~" || strings.EqualFold(value, "null") {
		return "", "", atLine(number, "a value is missing; leave the whole line out for no limit")
	}
	return value, s[len(value):], nil
}

// yamlFlowList reads "item, item]" and returns what follows the bracket.
func yamlFlowList(number int, s string) (values []string, rest string, err error) {
	for {
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, "]") {
			break
		}
		var value string
		if value, s, err = yamlScalar(number, s, true); err != nil {
			return nil, "", err
		}
		values = append(values, value)
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, "]") {
			break
		}
		if !strings.HasPrefix(s, ",") {
			return nil, "", atLine(number, "a list in brackets isn't closed on its line")
		}
		s = s[1:]
	}
	if len(values) == 0 {
		return nil, "", atLine(number, "an empty list; leave the line out for no limit")
	}
	return values, s[1:], nil
}

func onlyComment(number int, rest string) error {
	text := strings.TrimLeft(rest, " ")
	if text == "" || (text[0] == '#' && len(text) < len(rest)) {
		return nil
	}
	return atLine(number, "unexpected text %q after the value", text)
}
