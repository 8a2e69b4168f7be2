package service

import (
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// text returns a scalar as it is written.
func (r *reader) text(n *node, at string) string {
	if n.kind != scalar {
		r.addf(n.yaml, "%s must be one value, not a list or mapping", at)
		return ""
	}
	if strings.IndexByte(n.text, 0) >= 0 {
		r.addf(n.yaml, "%s has a null byte", at)
		return ""
	}
	return n.text
}

// word is text that is not empty.
func (r *reader) word(n *node, at string) string {
	text := r.text(n, at)
	if n.kind == scalar && text == "" {
		r.addf(n.yaml, "%s is empty; leave it out or give a value", at)
	}
	return text
}

// items returns the items of a list; a single value is a list of one.
func (r *reader) items(n *node, at string) []*node {
	switch n.kind {
	case sequence:
		return n.items
	case scalar:
		return []*node{n}
	case mapping:
		r.addf(n.yaml, "%s must be a list", at)
	}
	return nil
}

func (r *reader) list(n *node, at string) []string {
	var out []string
	for _, item := range r.items(n, at) {
		out = append(out, r.word(item, at))
	}
	return out
}

func (r *reader) yes(n *node, at string) bool {
	switch text := r.text(n, at); strings.ToLower(text) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off":
	default:
		r.addf(n.yaml, "%s must be true or false, not %q", at, text)
	}
	return false
}

func (r *reader) integer(n *node, at string, low, high int64) int64 {
	text := r.word(n, at)
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < low || value > high {
		r.addf(n.yaml, "%s must be a whole number from %d to %d, not %q", at, low, high, text)
		return 0
	}
	return value
}

// limit reads a limit as the command line does.
func limit[T any](r *reader, n *node, at string, parse func(string) (T, error)) *T {
	value, err := parse(r.word(n, at))
	if err != nil {
		r.addf(n.yaml, "%s: %v", at, err)
		return nil
	}
	return &value
}

func (r *reader) bytes(n *node, at string) *int64 { return limit(r, n, at, cgroup.ParseBytes) }

// size is bytes that have an end.
func (r *reader) size(n *node, at string) int64 {
	value := r.bytes(n, at)
	switch {
	case value == nil:
		return 0
	case *value < 0:
		r.addf(n.yaml, "%s must be a size", at)
		return 0
	}
	return *value
}

// mode reads permission bits, which are octal with or without a leading 0.
func (r *reader) mode(n *node, text, at string) fs.FileMode {
	return fs.FileMode(r.octal(n, text, at, 0o777))
}

func (r *reader) octal(n *node, text, at string, most uint64) uint64 {
	value, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || value > most {
		r.addf(n.yaml, "%s: %q is no mode; write for example 0644", at, text)
		return 0
	}
	return value
}

// target is an absolute path in the sandbox.
func (r *reader) target(n *node, at string) string {
	text := r.word(n, at)
	if text != "" && !path.IsAbs(text) {
		r.addf(n.yaml, "%s must be an absolute path in the sandbox, not %q", at, text)
	}
	return text
}

// hostPath makes a path of this host absolute.
func (r *reader) hostPath(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		if home, ok := r.options.Lookup("HOME"); ok {
			return filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(r.options.Dir, p)
}

// only calls the reader of each key of the mapping n, and refuses other keys.
func (r *reader) only(n *node, at string, keys map[string]func(*node)) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		r.addf(n.yaml, "%s must be a mapping of keys to values", at)
		return
	}
	for _, e := range n.entries {
		read, ok := keys[e.key.Value]
		switch {
		case ok && e.value.kind != null:
			read(e.value)
		case !ok && !strings.HasPrefix(e.key.Value, "x-"):
			r.unknown(e.key, slices.Sorted(maps.Keys(keys)))
		}
	}
}

// pairs reads a mapping of texts, or a list of KEY=VALUE.
func (r *reader) pairs(n *node, at string) map[string]string {
	out := map[string]string{}
	if n.kind == mapping {
		for _, e := range n.entries {
			if e.value.kind == null {
				out[e.key.Value] = ""
				continue
			}
			out[e.key.Value] = r.text(e.value, at+"."+e.key.Value)
		}
		return out
	}
	for _, item := range r.items(n, at) {
		key, value, _ := strings.Cut(r.text(item, at), "=")
		if key == "" {
			r.addf(item.yaml, "%s: %q is not KEY=VALUE", at, item.text)
			continue
		}
		if _, twice := out[key]; twice {
			r.addf(item.yaml, "%s: %q is there twice", at, key)
		}
		out[key] = value
	}
	return out
}

func (r *reader) capabilities(n *node, at string) []string {
	var out []string
	for _, item := range r.items(n, at) {
		name, err := CapabilityName(r.word(item, at))
		if err != nil {
			r.addf(item.yaml, "%s: %v", at, err)
			continue
		}
		out = append(out, name)
	}
	return out
}

// command reads a list of arguments, or a line that is split as a shell does, but
// without its expansions. Nothing is nil, an empty value an empty list.
func (r *reader) command(n *node, at string) []string {
	switch n.kind {
	case null:
		return nil
	case sequence:
		out := []string{}
		for _, item := range n.items {
			if item.kind == null {
				r.addf(item.yaml, "%s has an empty item; write \"\" for an empty argument", at)
				continue
			}
			out = append(out, r.text(item, at))
		}
		return out
	}
	out, err := splitLine(r.text(n, at))
	if err != nil {
		r.addf(n.yaml, "%s: %v", at, err)
	}
	return out
}

// splitLine splits a line into words: spaces separate them, quotes keep them
// together, a backslash takes the next character as it is (in double quotes only
// before ", \, $ and `).
func splitLine(line string) ([]string, error) {
	words := []string{}
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, c := range line {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", c) {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errorf("%q ends in the middle of a quotation", line)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
