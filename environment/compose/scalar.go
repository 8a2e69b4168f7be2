package compose

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// scalar checks a single value. One with variables fits where its result would, written out.
func (w *walk) scalar(n *yaml.Node, s *shape, path []string, pattern string) {
	kinds, value := scalarKind(n), n.Value
	if kinds&null == 0 {
		result, err := w.interpolate(n)
		if err != nil && !w.file.foreign {
			w.addf(n, path, "%s", interpolationProblem(err))
			return
		}
		if result != n.Value {
			value = result
			kinds = text | kindOf(result)
		}
	}
	if w.file.foreign && strings.Contains(n.Value, "$") {
		return
	}
	// The schema lets pid be empty, which the library does not survive.
	if s.kinds&kinds == 0 || kinds&null != 0 && strings.HasSuffix(pattern, ".pid") {
		switch {
		case kinds&null != 0:
			w.addf(n, path, "it is empty; it must be %s, or left out", s.kinds)
		case s.kinds&text != 0:
			w.addf(n, path, "it must be %s; put %s in quotes", s.kinds, n.Value)
		default:
			w.addf(n, path, "it must be %s, not %q", s.kinds, n.Value)
		}
		return
	}
	if kinds&null != 0 {
		return
	}
	if p, ok := w.places[joined(path)]; ok {
		p.text = value
		w.places[joined(path)] = p
	}
	if len(s.words) > 0 && s.kinds&mapping == 0 && !contains(s.words, value) {
		w.addf(n, path, "%q is none of %s", value, strings.Join(s.words, ", "))
		return
	}
	if s.kinds&^null == boolean|text && kindOf(value)&boolean == 0 && !strings.Contains(pattern, ".build.") {
		w.addf(n, path, "it must be true or false, not %q", value)
		return
	}
	if strings.IndexByte(value, 0) >= 0 {
		w.addf(n, path, "it has a null byte")
		return
	}
	if problem := valueProblem(pattern, value); problem != "" {
		w.addf(n, path, "%s", problem)
	}
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// scalarKind is the kind of a value as it is written.
func scalarKind(n *yaml.Node) kind {
	switch n.ShortTag() {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int":
		return integer | number
	case "!!float":
		return number
	}
	return text
}

// kindOf is what a text could be read as where the schema wants more than text.
func kindOf(s string) kind {
	var k kind
	if _, err := strconv.ParseBool(s); err == nil || contains([]string{"yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		k |= boolean
	}
	if _, err := strconv.ParseInt(s, 0, 64); err == nil {
		k |= integer | number
	} else if _, err := strconv.ParseFloat(s, 64); err == nil {
		k |= number
	}
	return k
}

// interpolate puts variables into a value. What has none is left alone, quickly.
func (w *walk) interpolate(n *yaml.Node) (string, error) {
	if !strings.Contains(n.Value, "$") || n.Tag == "!!null" {
		return n.Value, nil
	}
	missed := false
	result, err := template.SubstituteWithOptions(n.Value, func(name string) (string, bool) {
		value, set := w.lookup(name)
		missed = missed || !set
		return value, set
	}, template.WithoutLogging)
	if missed && !w.file.foreign {
		for name, v := range template.ExtractVariables(map[string]any{"x": n.Value}, template.DefaultPattern) {
			_, set := w.lookup(name)
			if !set && v.DefaultValue == "" && v.PresenceValue == "" && !v.Required && !hasDefault(n.Value, name) {
				w.unset[name] = w.at(n)
			}
		}
	}
	return result, err
}

// hasDefault tells ${NAME-}, whose default is empty on purpose, from ${NAME}.
func hasDefault(value, name string) bool {
	return strings.Contains(value, "${"+name+"-") || strings.Contains(value, "${"+name+":-") || strings.Contains(value, "${"+name+"+") || strings.Contains(value, "${"+name+":+")
}

func interpolationProblem(err error) string {
	var missing *template.MissingRequiredError
	if errors.As(err, &missing) {
		reason := ""
		if missing.Reason != "" {
			reason = ": " + missing.Reason
		}
		return fmt.Sprintf("the variable %s is not set%s; set it, in the environment or in .env", missing.Variable, reason)
	}
	var invalid *template.InvalidTemplateError
	if errors.As(err, &invalid) {
		return fmt.Sprintf("%q is no use of a variable; write ${NAME}, or $$ for a dollar sign", invalid.Template)
	}
	return err.Error()
}
