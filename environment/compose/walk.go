package compose

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"

	"github.com/sandboxrun/sandboxrun/internal/spelling"
)

// walk goes through files before the library reads them. It checks each value
// against the schema, interpolates it, looks up what happens with each key, and
// remembers where everything was written.
type walk struct {
	file       file
	lookup     template.Mapping
	attributes map[string]*attribute

	problems Problems
	refusals []refusal
	// places by joined path; later files win, as they do in the merge.
	places map[string]place
	// profiled are services that a profile enables.
	profiled map[string]bool
	// resets are paths that a later file takes back by !reset.
	resets [][]string
	// references are files that the files name.
	references []reference
	// extends has, for a service, the one of the same file that it extends.
	extends map[string]string
	// unset variables that are taken as empty, by name.
	unset map[string]place

	visited  int
	tooLarge bool
}

// place is where something was written.
type place struct {
	file         string
	line, column int
	// text of a scalar, with its variables put in.
	text string
}

// refusal is a key that is not carried out, or changes nothing.
type refusal struct {
	path   []string
	at     place
	status status
	text   string
	// foreign refusals are of a file that is included or extended.
	foreign bool
	// sequence is how many resets there were before it.
	sequence int
}

func newWalk(lookup template.Mapping) *walk {
	return &walk{lookup: lookup, attributes: attributeTable(), places: map[string]place{}, profiled: map[string]bool{}, extends: map[string]string{}, unset: map[string]place{}}
}

// read walks one file.
func (w *walk) read(f file) {
	w.file = f
	documents, problem := f.documents()
	if problem != nil {
		w.problems = append(w.problems, problem)
		return
	}
	for _, n := range documents {
		w.value(n, &specification, nil, "", 0)
	}
}

func (w *walk) addf(n *yaml.Node, path []string, format string, args ...any) {
	w.problems = append(w.problems, &Problem{File: w.file.name, Line: n.Line, Column: n.Column, Key: words(path), Text: fmt.Sprintf(format, args...)})
}

// words is a path as people write it: services.web.ports[0].
func words(path []string) string {
	var b strings.Builder
	for _, part := range path {
		if b.Len() > 0 && !strings.HasPrefix(part, "[") {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}

func joined(path []string) string { return strings.Join(path, "\x00") }

func (w *walk) at(n *yaml.Node) place {
	return place{file: w.file.name, line: n.Line, column: n.Column}
}

// value checks n, which is at path; pattern is the same with "*" and "[]".
func (w *walk) value(n *yaml.Node, s *shape, path []string, pattern string, depth int) {
	if !w.visit(n, depth) {
		return
	}
	if n.Kind == yaml.AliasNode {
		w.value(n.Alias, s, path, pattern, depth+1)
		return
	}
	if n.Tag == "!reset" {
		w.resets = append(w.resets, path)
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		if s.kinds&mapping == 0 {
			w.wrongKind(n, s, path, "a mapping")
			return
		}
		w.mapping(n, s, path, pattern, depth)
	case yaml.SequenceNode:
		if s.kinds&list == 0 {
			w.wrongKind(n, s, path, "a list")
			return
		}
		w.list(n, s, path, pattern, depth)
	case yaml.ScalarNode:
		w.scalar(n, s, path, pattern)
	default:
		w.addf(n, path, "this kind of value is not supported")
	}
}

func (w *walk) wrongKind(n *yaml.Node, s *shape, path []string, is string) {
	w.addf(n, path, "it must be %s, not %s", s.kinds, is)
}

func (w *walk) mapping(n *yaml.Node, s *shape, path []string, pattern string, depth int) {
	present := map[string]bool{}
	for _, e := range w.entries(n, depth) {
		key := e.key.Value
		present[key] = true
		here := child(path, key)
		w.places[joined(here)] = w.at(e.key)
		if s.extensible && strings.HasPrefix(key, "x-") {
			switch {
			case key == sandboxKey:
				w.remember(e.value, here, depth+1)
			case spelling.Nearest(key, []string{sandboxKey}) != "":
				w.refusals = append(w.refusals, refusal{path: here, at: w.at(e.key), status: noted, text: "it is an extension that nobody knows; did you mean " + sandboxKey + "?", sequence: len(w.resets)})
			}
			continue
		}
		sub, below := s.key(key), pattern+"."+key
		if sub == nil && s.others != nil {
			if !s.names.allows(key) {
				w.addf(e.key, path, "%q is no name here: write letters, digits, _ . and -", key)
				continue
			}
			sub, below = s.others, pattern+".*"
		}
		below = strings.TrimPrefix(below, ".")
		if sub == nil {
			if !s.open {
				w.unknown(e.key, s, path)
			}
			continue
		}
		w.attribute(e, here, below, n)
		w.value(e.value, sub, here, below, depth+1)
		w.refers(e.value, here, below)
	}
	for _, key := range s.required {
		if !present[key] && n.Tag != "!override" {
			w.addf(n, path, "the key %s is missing", key)
		}
	}
}

func child(path []string, key string) []string {
	return append(path[:len(path):len(path)], key)
}

func (w *walk) unknown(key *yaml.Node, s *shape, path []string) {
	if s.extensible && spelling.Nearest(key.Value, []string{sandboxKey}) != "" {
		w.addf(key, path, "the key %q is not known; did you mean %s?", key.Value, sandboxKey)
		return
	}
	known := s.keyNames()
	if guess := spelling.Nearest(key.Value, known); guess != "" {
		w.addf(key, path, "the key %q is not known; did you mean %s?", key.Value, guess)
		return
	}
	if len(known) > 20 {
		w.addf(key, path, "the key %q is not known; docs/compose.md lists those that are", key.Value)
		return
	}
	w.addf(key, path, "the key %q is not known; there are %s", key.Value, strings.Join(known, ", "))
}

// attribute notes a key that is not carried out. What is in it must be sound all the same: the library reads it.
func (w *walk) attribute(e entry, path []string, pattern string, siblings *yaml.Node) {
	a := attributeOf(w.attributes, pattern)
	parent, _ := cutLast(pattern)
	switch {
	case a.status == works || a.status == differs || e.value.Tag == "!reset":
		return
	case isFalse(e.value):
		return // what is off need not be there
	case a.path != pattern && a.path != parent+".*":
		return // it is told of the key above
	case pattern == "services.*.build" && w.prebuilt(siblings):
		a.status, a.text = noted, "the image is taken, and nothing is built"
	}
	at := w.at(e.key)
	w.refusals = append(w.refusals, refusal{path: path, at: at, status: a.status, text: plain(a.text), foreign: w.file.foreign, sequence: len(w.resets)})
}

// plain takes off what is for the documentation.
func plain(text string) string {
	text, _, _ = strings.Cut(text, " | ")
	return strings.ReplaceAll(text, "`", "")
}

func isFalse(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && strings.EqualFold(n.Value, "false")
}

// prebuilt tells whether a service with build has an image to use in its place.
func (w *walk) prebuilt(service *yaml.Node) bool {
	image, build := false, false
	for _, e := range w.entries(service, 0) {
		image = image || (e.key.Value == "image" || e.key.Value == sandboxKey) && e.value.Tag != "!!null"
		build = build || e.key.Value == "pull_policy" && e.value.Value == "build"
	}
	return image && !build
}

func (w *walk) list(n *yaml.Node, s *shape, path []string, pattern string, depth int) {
	seen := map[string]bool{}
	for i, item := range n.Content {
		here := child(path, "["+strconv.Itoa(i)+"]")
		place := w.at(item)
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind == yaml.ScalarNode {
			place.text, _ = w.interpolate(item)
			if s.distinct && seen[item.Value] {
				w.addf(item, path, "%q is there twice; leave one of them out", item.Value)
			}
			seen[item.Value] = true
		}
		w.places[joined(here)] = place
		if s.items != nil {
			w.value(item, s.items, here, pattern+".[]", depth+1)
		}
	}
}

// remember notes the places of everything below an extension of ours.
func (w *walk) remember(n *yaml.Node, path []string, depth int) {
	if !w.visit(n, depth) {
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		w.remember(n.Alias, path, depth+1)
	case yaml.MappingNode:
		for _, e := range w.entries(n, depth) {
			here := child(path, e.key.Value)
			w.places[joined(here)] = w.at(e.key)
			w.remember(e.value, here, depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			here := child(path, "["+strconv.Itoa(i)+"]")
			w.places[joined(here)] = w.at(item)
			w.remember(item, here, depth+1)
		}
	case yaml.ScalarNode:
		if _, err := w.interpolate(n); err != nil && !w.file.foreign {
			w.addf(n, path, "%s", interpolationProblem(err))
		}
	}
}

// find returns where a path was written: itself, the item of a list that is its last word, or the nearest above it.
func (w *walk) find(path []string) place {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if p, ok := w.places[joined(path)]; ok {
			return p
		}
		above, word := path[:len(path)-1], path[len(path)-1]
		if p, ok := w.item(above, func(value func(string) string) bool { return value("") == word }); ok {
			return p
		}
	}
	return place{}
}

// item returns where the first item of a list was written that matches. value gives the text of a key of the item, of ""
// the item's own.
func (w *walk) item(path []string, matches func(value func(key string) string) bool) (place, bool) {
	for i := 0; ; i++ {
		here := child(path, "["+strconv.Itoa(i)+"]")
		p, ok := w.places[joined(here)]
		if !ok {
			return place{}, false
		}
		value := func(key string) string {
			if key == "" {
				return p.text
			}
			return w.places[joined(child(here, key))].text
		}
		if matches(value) {
			return p, true
		}
	}
}

// wrote tells whether a path is in a file.
func (w *walk) wrote(path []string) bool {
	_, ok := w.places[joined(path)]
	return ok
}
