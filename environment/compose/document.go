package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxFile bounds a Compose file in bytes, maxNodes what aliases can blow it up to, and maxDepth its nesting.
	maxFile  = 4 << 20
	maxNodes = 200_000
	maxDepth = 100
)

// file is a Compose file.
type file struct {
	// name is for messages; path is absolute, or "-".
	name, path string
	data       []byte
	// foreign files are not asked for, but included or extended. Their variables may have other values.
	foreign bool
}

// documents parses a file. It may have several, which are merged one over the other.
func (f file) documents() ([]*yaml.Node, *Problem) {
	if len(f.data) > maxFile {
		return nil, &Problem{File: f.name, Text: fmt.Sprintf("the file is larger than %d bytes", maxFile)}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(f.data))
	var out []*yaml.Node
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		switch {
		case errors.Is(err, io.EOF) && len(out) == 0:
			return nil, &Problem{File: f.name, Text: "the file is empty; write at least services"}
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, f.broken(err)
		}
		top := &n
		if top.Kind == yaml.DocumentNode && len(top.Content) == 1 {
			top = top.Content[0]
		}
		if top.Kind != yaml.MappingNode {
			return nil, &Problem{File: f.name, Line: top.Line, Column: top.Column, Text: "the file must be a mapping of keys to values, with services"}
		}
		out = append(out, top)
	}
}

// broken tells what is wrong with the YAML.
func (f file) broken(err error) *Problem {
	p := &Problem{File: f.name, Text: "the YAML cannot be read: " + strings.Join(strings.Fields(err.Error()), " ")}
	var at *yaml.LoadError
	if errors.As(err, &at) && at.Mark.Line > 0 {
		p.Line, p.Column = at.Mark.Line, at.Mark.Column
		p.Text = "the YAML cannot be read: " + strings.Join(strings.Fields(at.Message), " ")
	}
	return p
}

// entry is a key of a mapping with its value.
type entry struct {
	key, value *yaml.Node
}

// entries returns those of a mapping, with what it merges by "<<" after its own, which win. Problems go to w.
func (w *walk) entries(n *yaml.Node, depth int) []entry {
	var own, merged []entry
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind == yaml.AliasNode:
			key = key.Alias
			fallthrough
		case key.Kind == yaml.ScalarNode && key.Tag != "!!merge":
			if key.Kind != yaml.ScalarNode {
				w.addf(key, nil, "a key must be a plain word")
				continue
			}
			if seen[key.Value] {
				w.addf(key, nil, "the key %q is there twice; leave one of them out", key.Value)
				continue
			}
			seen[key.Value] = true
			own = append(own, entry{key, value})
		case key.Kind == yaml.ScalarNode:
			merged = append(merged, w.mergeable(value, depth+1)...)
		default:
			w.addf(key, nil, "a key must be a plain word")
		}
	}
	for _, e := range merged {
		if !seen[e.key.Value] {
			seen[e.key.Value] = true
			own = append(own, e)
		}
	}
	return own
}

// mergeable returns what "<<: value" adds.
func (w *walk) mergeable(value *yaml.Node, depth int) []entry {
	if !w.visit(value, depth) {
		return nil
	}
	switch value.Kind {
	case yaml.AliasNode:
		return w.mergeable(value.Alias, depth+1)
	case yaml.MappingNode:
		return w.entries(value, depth+1)
	case yaml.SequenceNode:
		var out []entry
		for _, item := range value.Content {
			for _, e := range w.mergeable(item, depth+1) {
				// The first of a list wins.
				if !slices.ContainsFunc(out, func(have entry) bool { return have.key.Value == e.key.Value }) {
					out = append(out, e)
				}
			}
		}
		return out
	}
	w.addf(value, nil, "only mappings can be merged with <<")
	return nil
}

// visit counts values, so that aliases of aliases end.
func (w *walk) visit(n *yaml.Node, depth int) bool {
	w.visited++
	if w.visited <= maxNodes && depth <= maxDepth {
		return true
	}
	if !w.tooLarge {
		w.tooLarge = true
		w.addf(n, nil, "the file is too large: more than %d values, or %d levels", maxNodes, maxDepth)
	}
	return false
}
