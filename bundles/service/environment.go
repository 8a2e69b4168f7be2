package service

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// readEnvironment reads a mapping, or a list of NAME=VALUE. A name without a value
// takes that of the caller's environment, and is left out where it has none.
// Variables of env_file come first, whatever comes first in the document.
func readEnvironment(r *reader, n *node, s *Service) {
	add := func(at *node, name, value string, hasValue bool) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			r.addf(at.yaml, "environment: %q is no name of a variable", name)
			return
		}
		if !hasValue {
			var set bool
			if value, set = r.options.Lookup(name); !set {
				return
			}
		}
		s.Environment = mergeEnvironment(s.Environment, []string{name + "=" + value})
	}
	if n.kind == mapping {
		for _, e := range n.entries {
			if e.value.kind == null {
				add(n, e.key.Value, "", false)
				continue
			}
			add(e.value, e.key.Value, r.text(e.value, "environment."+e.key.Value), true)
		}
		return
	}
	for _, item := range r.items(n, "environment") {
		name, value, hasValue := strings.Cut(r.text(item, "environment"), "=")
		add(item, name, value, hasValue)
	}
}

func readEnvFiles(r *reader, n *node, s *Service) {
	var fromFiles []string
	for _, item := range r.items(n, "env_file") {
		name, required := item.text, true
		if item.kind == mapping {
			r.only(item, "env_file", map[string]func(*node){
				"path":     func(n *node) { name = r.word(n, "env_file.path") },
				"required": func(n *node) { required = r.yes(n, "env_file.required") },
			})
		} else {
			name = r.word(item, "env_file")
		}
		data, err := r.options.ReadFile(r.hostPath(name))
		if err != nil {
			if required {
				r.addf(item.yaml, "env_file: %v", err)
			}
			continue
		}
		variables, err := parseEnvFile(data, r.options.Lookup)
		if err != nil {
			r.addf(item.yaml, "env_file: %s: %v", name, err)
		}
		fromFiles = mergeEnvironment(fromFiles, variables)
	}
	s.Environment = mergeEnvironment(fromFiles, s.Environment)
}

// parseEnvFile reads lines NAME=VALUE: empty ones and those that begin with # are
// passed over, "export " before a name too. Single quotes take a value as it is;
// in double quotes and without, variables are put in. A comment may follow " #".
// A name alone takes the caller's variable.
func parseEnvFile(data []byte, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, maxFile)
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimPrefix(line, "export ")
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if name == "" || variableName(strings.NewReplacer(".", "_", "-", "_").Replace(name)) != strings.NewReplacer(".", "_", "-", "_").Replace(name) {
			return nil, fmt.Errorf("line %d: %.60q is not NAME=VALUE", number, line)
		}
		if !found {
			if value, set := lookup(name); set {
				out = append(out, name+"="+value)
			}
			continue
		}
		value, err := envFileValue(strings.TrimSpace(value), lookup)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		out = append(out, name+"="+value)
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

func envFileValue(value string, lookup func(string) (string, bool)) (string, error) {
	if len(value) > 0 && (value[0] == '\'' || value[0] == '"') {
		quote := value[0]
		end := strings.IndexByte(value[1:], quote)
		if end < 0 {
			return "", errorf("a quotation does not end on its line")
		}
		rest := strings.TrimSpace(value[end+2:])
		if rest != "" && !strings.HasPrefix(rest, "#") {
			return "", errorf("%.60q follows a quotation", rest)
		}
		if quote == '\'' {
			return value[1 : end+1], nil
		}
		return interpolate(value[1:end+1], lookup)
	}
	if before, _, found := strings.Cut(value, " #"); found {
		value = strings.TrimSpace(before)
	}
	return interpolate(value, lookup)
}
