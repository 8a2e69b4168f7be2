package field

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Difference is one place at which two documents differ. Lists of the same length
// are compared item by item, others as a whole.
type Difference struct {
	// Path of the member; empty for the whole document.
	Path string `json:"path"`
	// Before and After are compact JSON; nil where the member is not there.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Diff compares two JSON documents and returns the differences, sorted by path.
// Numbers are compared as they are written.
func Diff(before, after []byte) ([]Difference, error) {
	a, err := decode(before)
	if err != nil {
		return nil, fmt.Errorf("read first document: %w", err)
	}
	b, err := decode(after)
	if err != nil {
		return nil, fmt.Errorf("read second document: %w", err)
	}
	return compare(nil, "", a, b), nil
}

func decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// compare appends what differs below path.
func compare(list []Difference, path string, a, b any) []Difference {
	if x, ok := a.(map[string]any); ok {
		if y, ok := b.(map[string]any); ok {
			return compareObjects(list, path, x, y)
		}
	}
	if x, ok := a.([]any); ok {
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				list = compare(list, extend(path, step{index: i}), x[i], y[i])
			}
			return list
		}
	}
	before, after := compact(a), compact(b)
	if !bytes.Equal(before, after) {
		list = append(list, Difference{path, before, after})
	}
	return list
}

func compareObjects(list []Difference, path string, x, y map[string]any) []Difference {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(x)), maps.Keys(y))
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		a, inX := x[key]
		b, inY := y[key]
		at := extend(path, step{name: key, isKey: true})
		switch {
		case !inX:
			list = append(list, Difference{Path: at, After: compact(b)})
		case !inY:
			list = append(list, Difference{Path: at, Before: compact(a)})
		default:
			list = compare(list, at, a, b)
		}
	}
	return list
}

// compact cannot fail: v came from JSON.
func compact(v any) json.RawMessage {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil
	}
	return bytes.TrimSpace(out.Bytes())
}
