package compose

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// reference is a file that another one includes or extends.
type reference struct {
	file string
	at   place
	path []string
	// from is the file that names it.
	from string
}

// refers notes files that a value names.
func (w *walk) refers(n *yaml.Node, path []string, pattern string) {
	switch pattern {
	case "services.*.profiles":
		w.profiled[path[1]] = len(n.Content) > 0
		return
	case "services.*.extends":
		w.extend(n, path[1])
		return
	case "services.*.extends.file", "include.[].path":
	case "include":
		for _, item := range n.Content {
			if item.Kind == yaml.ScalarNode {
				w.refer(item, path)
			}
		}
		return
	default:
		return
	}
	if n.Kind == yaml.ScalarNode {
		w.refer(n, path)
	}
	for _, item := range n.Content {
		w.refer(item, path)
	}
}

// extend notes that a service extends another one.
func (w *walk) extend(n *yaml.Node, service string) {
	base := n
	if n.Kind == yaml.MappingNode {
		for _, e := range w.entries(n, 0) {
			switch e.key.Value {
			case "service":
				base = e.value
			case "file":
				return
			}
		}
	}
	if base.Kind == yaml.ScalarNode && !w.file.foreign {
		w.extends[service] = base.Value
	}
}

// circles tells of services that extend themselves, over others or not. The library tells of them, too, but of another one
// each time.
func (w *walk) circles() {
	told := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.extends)) {
		circle := []string{name}
		for next := w.extends[name]; next != "" && len(circle) <= len(w.extends); next = w.extends[next] {
			circle = append(circle, next)
			if next != name {
				continue
			}
			if !told[name] {
				path := []string{"services", name, "extends"}
				at := w.find(path)
				w.problems = append(w.problems, &Problem{File: at.file, Line: at.line, Column: at.column, Key: words(path), Text: "the services extend each other in a circle: " + strings.Join(circle, " → ")})
			}
			for _, member := range circle {
				told[member] = true
			}
			break
		}
	}
}

func (w *walk) refer(n *yaml.Node, path []string) {
	name, err := w.interpolate(n)
	if err == nil && n.Kind == yaml.ScalarNode && name != "" {
		w.references = append(w.references, reference{file: name, at: w.at(n), path: path, from: w.file.path})
	}
}

// follow walks the files that files include or extend. It tells whether there are any.
func (w *walk) follow(dir string) bool {
	seen := map[string]bool{}
	for i := 0; i < len(w.references); i++ {
		r := w.references[i]
		path := r.file
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
			if beside := filepath.Join(filepath.Dir(r.from), r.file); i > 0 && r.from != "-" && !isFile(path) {
				path = beside
			}
		}
		if seen[path] {
			continue
		}
		seen[path] = true
		data, err := readFile(path)
		if err != nil {
			w.problems = append(w.problems, &Problem{File: r.at.file, Line: r.at.line, Column: r.at.column, Key: words(r.path), Text: reason(err)})
			continue
		}
		w.read(file{name: r.file, path: path, data: data, foreign: true})
	}
	return len(w.references) > 0
}
