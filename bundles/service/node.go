package service

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

type nodeKind int

const (
	null nodeKind = iota
	scalar
	sequence
	mapping
)

// node is a YAML node with its aliases and merge keys resolved.
type node struct {
	kind nodeKind
	yaml *yaml.Node
	// text of a scalar, with variables put in.
	text    string
	items   []*node
	entries []entry
	// byKey has the entries of a mapping.
	byKey map[string]*node
}

type entry struct {
	key   *yaml.Node
	value *node
}

// get returns the value of a key, nil without it.
func (n *node) get(key string) *node { return n.byKey[key] }

func (n *node) add(key *yaml.Node, value *node) {
	if n.byKey == nil {
		n.byKey = map[string]*node{}
	}
	n.byKey[key.Value] = value
	n.entries = append(n.entries, entry{key, value})
}

// expand resolves aliases, merge keys (<<) and variables, and refuses keys that
// are there twice.
func (r *reader) expand(n *yaml.Node, depth int) *node {
	out := &node{yaml: n}
	if r.visited++; r.visited > maxNodes || depth > maxDepth {
		if r.visited == maxNodes+1 || depth == maxDepth+1 && len(r.problems) == 0 {
			r.addf(n, "the document is too large: more than %d values, or %d levels", maxNodes, maxDepth)
		}
		return out
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.expand(n.Alias, depth+1)
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return out
		}
		out.kind = scalar
		text, err := interpolate(n.Value, r.options.Lookup)
		if err != nil {
			r.addf(n, "%v", err)
		}
		out.text = text
	case yaml.SequenceNode:
		out.kind = sequence
		for _, item := range n.Content {
			out.items = append(out.items, r.expand(item, depth+1))
		}
	case yaml.MappingNode:
		out.kind = mapping
		r.expandMapping(n, out, depth)
	default:
		r.addf(n, "this kind of value is not supported")
	}
	return out
}

func (r *reader) expandMapping(n *yaml.Node, out *node, depth int) {
	var merged []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.addf(key, "a key must be a plain word")
			continue
		}
		if key.Tag == "!!merge" || key.Value == "<<" {
			from := r.expand(value, depth+1)
			if from.kind == sequence {
				merged = append(merged, from.items...)
			} else {
				merged = append(merged, from)
			}
			continue
		}
		if out.get(key.Value) != nil {
			r.addf(key, "key %q is there twice", key.Value)
			continue
		}
		out.add(key, r.expand(value, depth+1))
	}
	for _, from := range merged {
		if from.kind != mapping {
			r.addf(from.yaml, "only mappings can be merged with <<")
			continue
		}
		for _, e := range from.entries {
			if out.get(e.key.Value) == nil {
				out.add(e.key, e.value)
			}
		}
	}
}

// interpolate puts variables in: $NAME, ${NAME}, ${NAME-default}, ${NAME:-default},
// ${NAME?problem}, ${NAME:?problem}, ${NAME+other}, ${NAME:+other} (with a colon,
// empty counts as not set); $$ is a dollar sign (Compose specification,
// "Interpolation"). A variable that is not set is empty.
func interpolate(s string, lookup func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{"):
			expression, after, ok := strings.Cut(rest[1:], "}")
			if !ok {
				return "", errorf("%q has a ${ without }; write $$ for a dollar sign", s)
			}
			value, err := evaluate(expression, lookup)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			s = after
		default:
			name := variableName(rest)
			if name == "" {
				return "", errorf("%q has a $ without a name; write $$ for a dollar sign", s)
			}
			value, _ := lookup(name)
			out.WriteString(value)
			s = rest[len(name):]
		}
	}
}

func evaluate(expression string, lookup func(string) (string, bool)) (string, error) {
	name := variableName(expression)
	operator := expression[len(name):]
	if name == "" {
		return "", errorf("${%s} has no name; write $$ for a dollar sign", expression)
	}
	value, set := lookup(name)
	if rest, colon := strings.CutPrefix(operator, ":"); colon {
		set, operator = set && value != "", rest
	}
	if operator == "" {
		return value, nil
	}
	word := operator[1:]
	switch operator[0] {
	case '-':
		if !set {
			return word, nil
		}
		return value, nil
	case '+':
		if set {
			return word, nil
		}
		return "", nil
	case '?':
		if !set {
			return "", errorf("variable %s is not set: %s", name, word)
		}
		return value, nil
	}
	return "", errorf("${%s} is not understood; write ${NAME}, ${NAME:-default} or ${NAME:?problem}", expression)
}

// variableName returns the name that s begins with.
func variableName(s string) string {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return s[:i]
		}
	}
	return s
}
