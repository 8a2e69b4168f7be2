package field

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errPath says that a path cannot be read.
var errPath = errors.New("it is no path; write for example process.cwd, process.args[0] or annotations[\"a.b\"]")

// step is one part of a path: a name, or an index of an array.
type step struct {
	name  string
	index int
	isKey bool // name, not index
}

// parsePath reads the path that text begins with, up to "=", and returns the rest.
func parsePath(text string) (steps []step, rest string, err error) {
	for first := true; ; first = false {
		switch {
		case text == "" || text[0] == '=':
			if len(steps) == 0 {
				return nil, "", errPath
			}
			return steps, text, nil
		case text[0] == '[':
			var s step
			if s, text, err = parseBrackets(text); err != nil || first {
				return nil, "", errPath
			}
			steps = append(steps, s)
		default:
			if !first {
				if text[0] != '.' {
					return nil, "", errPath
				}
				text = text[1:]
			}
			end := strings.IndexAny(text, ".[=")
			if end < 0 {
				end = len(text)
			}
			if end == 0 {
				return nil, "", errPath
			}
			steps = append(steps, step{name: text[:end], isKey: true})
			text = text[end:]
		}
	}
}

func parseBrackets(text string) (step, string, error) {
	inside := text[1:]
	if strings.HasPrefix(inside, `"`) {
		quoted, err := strconv.QuotedPrefix(inside)
		if err != nil {
			return step{}, "", errPath
		}
		name, err := strconv.Unquote(quoted)
		if rest, ok := strings.CutPrefix(inside[len(quoted):], "]"); ok && err == nil {
			return step{name: name, isKey: true}, rest, nil
		}
		return step{}, "", errPath
	}
	digits, rest, ok := strings.Cut(inside, "]")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil {
		return step{}, "", errPath
	}
	return step{index: int(n)}, rest, nil
}

// extend returns path with one more step.
func extend(path string, s step) string {
	switch {
	case !s.isKey:
		return fmt.Sprintf("%s[%d]", path, s.index)
	case !plain(s.name):
		return path + "[" + strconv.Quote(s.name) + "]"
	case path == "":
		return s.name
	}
	return path + "." + s.name
}

// plain tells whether a name needs no quotes.
func plain(name string) bool {
	for _, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
