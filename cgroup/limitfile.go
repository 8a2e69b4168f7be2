package cgroup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// maxLimitFile bounds a limit file in bytes.
const maxLimitFile = 1 << 20

// maxIOMax bounds the devices in a limit file.
const maxIOMax = 256

// limitKeys are the keys of a limit file, as its error messages list them.
const limitKeys = "memory, memory_swap, cpus, cpuset, pids, io_max, wall_time, cpu_time"

// LoadLimits reads a limit file, see ParseLimits. Errors name the file and the line.
func LoadLimits(path string) (Limits, error) {
	f, err := os.Open(path)
	if err != nil {
		return Limits{}, fmt.Errorf("cannot read limit file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLimitFile+1))
	if err != nil {
		return Limits{}, fmt.Errorf("cannot read limit file: %w", err)
	}
	limits, err := ParseLimits(data)
	if err != nil {
		return Limits{}, fmt.Errorf("cannot use limit file %s: %w", path, err)
	}
	return limits, nil
}

// ParseLimits reads the content of a limit file: one flat mapping, in JSON when it begins with "{",
// else in YAML, of the keys memory, memory_swap, cpus, cpuset, pids, wall_time and cpu_time, whose
// values are written as on the command line, and io_max, a list of such values.
//
//	memory: 64M
//	cpus: 0.5
//	io_max:
//	  - /dev/sda:rbps=10M
//	wall_time: 30s
//
// An unknown or repeated key and a bad value are errors that name the line. Of YAML only what a flat
// file needs is understood; anchors, tags, block scalars, escapes, several documents and the like are
// refused, never misread (a full YAML library would cost every start of a container 0.5 ms).
func ParseLimits(data []byte) (Limits, error) {
	if len(data) > maxLimitFile {
		return Limits{}, invalidf("it is larger than %d bytes", maxLimitFile)
	}
	if !utf8.Valid(data) {
		return Limits{}, invalidf("it is no UTF-8 text")
	}
	read := readFlatYAML
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		read = readFlatJSON
	}
	var limits Limits
	err := read(data, limits.set)
	if err != nil {
		return Limits{}, err
	}
	return limits, nil
}

// entry is one key of a limit file. A list has isList set and its items in values; else values has one.
type entry struct {
	line   int
	key    string
	isList bool
	values []string
}

func (e entry) errorf(format string, args ...any) error {
	return atLine(e.line, format, args...)
}

func atLine(line int, format string, args ...any) error {
	return invalidf("line %d: %s", line, fmt.Sprintf(format, args...))
}

// set takes over one entry of a limit file.
func (l *Limits) set(e entry) error {
	if e.isList != (e.key == "io_max") && knownKey(e.key) {
		if e.isList {
			return e.errorf("%s takes one value, not a list", e.key)
		}
		return e.errorf("io_max takes a list; write it as `- %s` on a line of its own", e.values[0])
	}
	var err error
	switch e.key {
	case "memory":
		l.MemoryBytes, err = parsed(ParseBytes, e.values[0])
	case "memory_swap":
		l.MemorySwapBytes, err = parsed(ParseBytes, e.values[0])
	case "cpus":
		l.CPUs, err = parsed(ParseCPUs, e.values[0])
	case "cpuset":
		l.Cpuset, err = ParseCpuset(e.values[0])
	case "pids":
		l.Pids, err = parsed(ParsePids, e.values[0])
	case "wall_time":
		l.WallTime, err = ParseTime(e.values[0])
	case "cpu_time":
		l.CPUTime, err = ParseTime(e.values[0])
	case "io_max":
		if len(e.values) > maxIOMax {
			return e.errorf("io_max has %d items, more than %d", len(e.values), maxIOMax)
		}
		for _, value := range e.values {
			io, parseErr := ParseIOMax(value)
			if parseErr != nil {
				err = parseErr
				break
			}
			l.IOMax = addIOMax(l.IOMax, io)
		}
	default:
		return e.errorf("no key %q; known keys: %s", e.key, limitKeys)
	}
	if err != nil {
		return e.errorf("%s: %s", e.key, err)
	}
	return nil
}

func knownKey(key string) bool {
	return key != "" && strings.Contains(", "+limitKeys+",", ", "+key+",")
}

func parsed[T any](parse func(string) (T, error), value string) (*T, error) {
	v, err := parse(value)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// readFlatJSON reads one JSON object of strings, numbers and lists of strings, calling set for each key.
func readFlatJSON(data []byte, set func(entry) error) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	line := func() int { return 1 + bytes.Count(data[:dec.InputOffset()], []byte("\n")) }
	token := func() (json.Token, error) {
		t, err := dec.Token()
		if err == nil {
			return t, nil
		}
		at := line()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		}
		return nil, atLine(at, "no JSON: %s", err)
	}
	if _, err := token(); err != nil { // "{", which the caller has seen
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := token()
		if err != nil {
			return err
		}
		e := entry{line: line(), key: t.(string)} // the decoder allows nothing but strings as keys
		if seen[e.key] {
			return e.errorf("%q is given twice", e.key)
		}
		seen[e.key] = true
		if t, err = token(); err != nil {
			return err
		}
		if t == json.Delim('[') {
			e.isList = true
			for dec.More() {
				if t, err = token(); err != nil {
					return err
				}
				value, ok := t.(string)
				if !ok {
					return e.errorf("the items of %q have to be strings", e.key)
				}
				e.values = append(e.values, value)
			}
			if _, err = token(); err != nil {
				return err
			}
		} else {
			switch value := t.(type) {
			case string:
				e.values = []string{value}
			case json.Number:
				e.values = []string{value.String()}
			default:
				return e.errorf("%q has to be a string or a number", e.key)
			}
		}
		if err := set(e); err != nil {
			return err
		}
	}
	if _, err := token(); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return atLine(line(), "text after the end of the JSON object")
	}
	return nil
}
