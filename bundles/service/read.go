package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sandboxrun/sandboxrun/internal/spelling"
)

const (
	// maxFile bounds a service file, an env_file and a seccomp profile, in bytes.
	maxFile = 1 << 20
	// maxNodes bounds what aliases can blow a document up to.
	maxNodes = 100_000
	// maxDepth bounds its nesting.
	maxDepth = 64
)

// Options are the surroundings that a service file may refer to.
type Options struct {
	// Dir is what relative paths are meant from, absolute.
	Dir string
	// Lookup gives the variables of ${NAME}, of names without a value in
	// environment, and of secrets; os.LookupEnv. nil: none is set.
	Lookup func(string) (string, bool)
	// ReadFile reads env_file and seccomp profiles; nil: os.ReadFile.
	ReadFile func(string) ([]byte, error)
}

// Read reads the service of the given name from a file; relative paths in it are
// meant from its directory. See Parse.
func Read(file, name string, lookup func(string) (string, bool)) (Service, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return Service{}, fmt.Errorf("cannot read service file: %w", err)
	}
	data, err := readLimited(abs)
	if err != nil {
		return Service{}, fmt.Errorf("cannot read service file: %w", err)
	}
	return Parse(data, file, name, Options{Dir: filepath.Dir(abs), Lookup: lookup, ReadFile: readLimited})
}

// readLimited reads a file of at most maxFile bytes.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, nil
}

// Parse reads a service from YAML. The document is either one service, or has
// several below services:, of which name chooses one; without a name there must be
// one. file is for messages.
//
// All problems are told at once (errors.Join of *ReadError); a missing service
// wraps ErrNoService.
func Parse(data []byte, file, name string, o Options) (Service, error) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Lookup == nil {
		o.Lookup = func(string) (string, bool) { return "", false }
	}
	r := &reader{file: file, options: o}
	top, err := r.document(data)
	if err != nil {
		return Service{}, err
	}
	s := Service{Name: name}
	if body, ok := r.choose(top, &s); ok {
		r.service(body, &s)
	}
	if len(r.problems) > 0 {
		return Service{}, errors.Join(r.problems...)
	}
	return s, nil
}

// reader reads one document.
type reader struct {
	file     string
	options  Options
	problems []error
	visited  int
	// secrets are the definitions at the top of the document.
	secrets map[string]Secret
}

func (r *reader) addf(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, &ReadError{File: r.file, Line: n.Line, Column: n.Column, Problem: fmt.Sprintf(format, args...)})
}

// document returns the mapping at the top.
func (r *reader) document(data []byte) (*node, error) {
	if len(data) > maxFile {
		return nil, &ReadError{File: r.file, Problem: fmt.Sprintf("it is larger than %d bytes", maxFile)}
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	var document, more yaml.Node
	if err := documents.Decode(&document); errors.Is(err, io.EOF) {
		return nil, &ReadError{File: r.file, Problem: "it is empty"}
	} else if err != nil {
		return nil, &ReadError{File: r.file, Problem: oneLine(err)}
	}
	if err := documents.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &ReadError{File: r.file, Line: more.Line, Column: more.Column, Problem: "it has more than one document"}
	}
	top := &document
	if top.Kind == yaml.DocumentNode && len(top.Content) == 1 {
		top = top.Content[0]
	}
	tree := r.expand(top, 0)
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	if tree.kind != mapping {
		return nil, &ReadError{File: r.file, Line: top.Line, Column: top.Column, Problem: "it must be a mapping of keys to values"}
	}
	return tree, nil
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// choose finds the service in the document and its top-level secrets.
func (r *reader) choose(top *node, s *Service) (*node, bool) {
	services := top.get("services")
	if services == nil {
		if s.Name != "" {
			r.problems = append(r.problems, fmt.Errorf("%s: cannot find service %q: %w: the file is one service without a name; leave #%s out", r.file, s.Name, ErrNoService, s.Name))
			return nil, false
		}
		return top, true
	}
	for _, e := range top.entries {
		switch key := e.key.Value; {
		case key == "services", key == "name", key == "version", strings.HasPrefix(key, "x-"):
		case key == "secrets":
			r.secrets = r.secretDefinitions(e.value)
		case key == "volumes" && emptyDefinitions(e.value):
		case key == "volumes", key == "networks", key == "configs", key == "include", key == "models":
			r.addf(e.key, "top-level %s is of an environment of several services; a bundle has none", key)
		default:
			r.unknown(e.key, []string{"services", "secrets", "volumes", "name", "version"})
		}
	}
	if services.kind != mapping {
		r.addf(services.yaml, "services must be a mapping of names to services")
		return nil, false
	}
	var names []string
	for _, e := range services.entries {
		names = append(names, e.key.Value)
	}
	if s.Name == "" && len(names) == 1 {
		s.Name = names[0]
	}
	if body := services.get(s.Name); s.Name != "" && body != nil {
		return body, true
	}
	slices.Sort(names)
	if s.Name == "" {
		r.problems = append(r.problems, fmt.Errorf("%s: cannot choose: %w named; write FILE#NAME with one of %s", r.file, ErrNoService, strings.Join(names, ", ")))
		return nil, false
	}
	r.problems = append(r.problems, fmt.Errorf("%s: cannot find %q: %w; there are %s", r.file, s.Name, ErrNoService, strings.Join(names, ", ")))
	return nil, false
}

// emptyDefinitions: a named volume without settings is declared and nothing more.
func emptyDefinitions(n *node) bool {
	if n.kind == null {
		return true
	}
	return n.kind == mapping && !slices.ContainsFunc(n.entries, func(e entry) bool {
		return e.value.kind != null && (e.value.kind != mapping || len(e.value.entries) > 0)
	})
}

// unknown tells of a key that nobody knows.
func (r *reader) unknown(key *yaml.Node, known []string) {
	if guess := spelling.Nearest(key.Value, known); guess != "" {
		r.addf(key, "key %q is not known; did you mean %s?", key.Value, guess)
		return
	}
	r.addf(key, "key %q is not known; there are %s", key.Value, strings.Join(known, ", "))
}

// service reads the body of a service into s.
func (r *reader) service(body *node, s *Service) {
	if body.kind != mapping {
		r.addf(body.yaml, "a service must be a mapping of keys to values")
		return
	}
	keys := serviceKeys()
	for _, e := range body.entries {
		key := e.key.Value
		if read, ok := keys[key]; ok {
			if e.value.kind == null && key != "command" && key != "entrypoint" {
				continue // Compose: a key without a value is not set
			}
			read(r, e.value, s)
			continue
		}
		if reason, ok := otherKeys()[key]; ok {
			r.addf(e.key, "key %q cannot be used in a bundle: %s", key, reason)
			continue
		}
		if !strings.HasPrefix(key, "x-") {
			r.unknown(e.key, slices.Sorted(maps.Keys(keys)))
		}
	}
	if len(r.problems) == 0 {
		r.whole(body, s)
	}
}

// whole checks what concerns several keys.
func (r *reader) whole(body *node, s *Service) {
	if image := body.get("image"); image != nil && image.kind != null {
		if s.Source.Text != "" {
			r.addf(image.yaml, "image and x-sandbox both name a source; leave one of them out")
			return
		}
		s.Source.Text = "docker://" + r.text(image, "image")
	}
	seen := map[string]bool{}
	for _, m := range s.Mounts {
		if at := filepath.Clean(m.Target); seen[at] {
			r.addf(body.yaml, "two mounts have the target %q", at)
		} else {
			seen[at] = true
		}
	}
	if s.HostNetwork && len(s.Sysctls) > 0 {
		for key := range s.Sysctls {
			if strings.HasPrefix(key, "net.") {
				r.addf(body.yaml, "sysctl %q would change the host's network, which network_mode host shares", key)
			}
		}
	}
}
