package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
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

// ParseLimits reads the content of a limit file: one flat mapping, in YAML or JSON, of the keys memory,
// memory_swap, cpus, cpuset, pids, wall_time and cpu_time, whose values are written as on the command
// line, and io_max, a list of such values.
//
//	memory: 64M
//	cpus: 0.5
//	io_max:
//	  - /dev/sda:rbps=10M
//	wall_time: 30s
//
// An unknown or repeated key and a bad value are errors that name the line.
func ParseLimits(data []byte) (Limits, error) {
	if len(data) > maxLimitFile {
		return Limits{}, invalidf("it is larger than %d bytes", maxLimitFile)
	}
	entries, err := readEntries(data)
	if err != nil {
		return Limits{}, err
	}
	var limits Limits
	for _, e := range entries {
		if err := limits.set(e); err != nil {
			return Limits{}, err
		}
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

// readEntries reads the keys and values of one YAML document, which JSON is too. It resolves no aliases,
// so that a small file cannot become a large one.
func readEntries(data []byte) ([]entry, error) {
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	err := documents.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, notYAML(err)
	}
	switch err := documents.Decode(&more); {
	case err == nil:
		return nil, atLine(more.Line, "a second document; a limit file has one")
	case !errors.Is(err, io.EOF):
		return nil, notYAML(err)
	}
	top := document.Content[0]
	if isNull(top) {
		return nil, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, atLine(top.Line, "no `key: value`; known keys: %s", limitKeys)
	}
	var entries []entry
	lines := map[string]int{}
	for i := 0; i < len(top.Content); i += 2 {
		e, err := readEntry(top.Content[i], top.Content[i+1])
		if err != nil {
			return nil, err
		}
		if first, twice := lines[e.key]; twice {
			return nil, e.errorf("%q is given twice, first in line %d", e.key, first)
		}
		lines[e.key] = e.line
		entries = append(entries, e)
	}
	return entries, nil
}

// notYAML makes one line of the library's error, which names the line of the file.
func notYAML(err error) error {
	return invalidf("no YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
}

func readEntry(key, value *yaml.Node) (entry, error) {
	e := entry{line: key.Line, key: key.Value}
	if key.Kind != yaml.ScalarNode {
		return e, e.errorf("a key that is no text; known keys: %s", limitKeys)
	}
	items := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		e.isList, items = true, value.Content
	}
	for _, item := range items {
		if isNull(item) {
			return e, e.errorf("%q has no value", e.key)
		}
		if item.Kind != yaml.ScalarNode {
			return e, e.errorf("%q has to be a text, a number, or a list of these", e.key)
		}
		e.values = append(e.values, item.Value)
	}
	return e, nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
