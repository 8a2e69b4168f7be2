package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// Options say which files are read and how. All paths may be relative to the
// working directory.
type Options struct {
	// Files are merged one over the other; "-" is Stdin. Without any, COMPOSE_FILE names them, or compose.yaml,
	// compose.yml, docker-compose.yml or docker-compose.yaml is looked for in Dir or the working directory and
	// those above it, with the override file beside it.
	Files []string
	Stdin io.Reader
	// Dir is the project's directory, which paths in the files are meant from. By default it is that of the first file.
	Dir string
	// Name of the environment. By default it is COMPOSE_PROJECT_NAME, the files' name, or the directory's.
	Name string
	// Profiles that are enabled; by default those of COMPOSE_PROFILES. "*" is all.
	Profiles []string
	// EnvFiles have variables for interpolation; by default it is .env in the project's directory, if it is there.
	EnvFiles []string
	// Services are the only ones to be started, with what they depend on; none is all.
	Services []string
	// Environ are the variables of the caller, NAME=VALUE, as os.Environ gives them. They win over EnvFiles.
	Environ []string
	// IgnoreUnsupported tells what is not supported as Ignored, and goes on.
	IgnoreUnsupported bool
	// Adjust, if it is set, changes the draft that the files make before it is completed. Its
	// error is Load's.
	Adjust func(*plan.Draft) error
}

// Load reads Compose files and plans the environment that they describe. What has
// no effect comes back as Ignored, also beside an error.
//
// The error is Problems, wraps ErrNoFile, or is of reading a file. Load may be
// called by several goroutines at once. It reads the files and those that they
// name (env_file, label_file, include, extends, seccomp profiles), and looks
// whether those of secrets, configs and binds are there.
func Load(ctx context.Context, o Options) (*plan.Plan, []Ignored, error) {
	s, err := gather(o)
	if err != nil {
		return nil, nil, err
	}
	w := newWalk(func(name string) (string, bool) { value, set := s.variables[name]; return value, set })
	for _, f := range s.files {
		w.read(f)
	}
	w.circles()
	foreign := w.follow(s.dir)
	order := s.names()
	if len(w.problems) > 0 {
		return nil, nil, append(w.problems, w.refused(o)...).sorted(order)
	}
	project, err := s.load(ctx, o, foreign)
	if err != nil {
		return nil, nil, w.explain(err)
	}
	c := &converter{walk: w, project: project, sources: s, options: o}
	ignored := c.refusals()
	draft := c.draft()
	ignored = append(append(ignored, c.ignored...), w.unsetVariables()...)
	ignored = sortIgnored(ignored, order)
	if o.Adjust != nil && len(c.problems) == 0 {
		if err := o.Adjust(&draft); err != nil {
			return nil, ignored, err
		}
	}
	// What the plan finds is told beside what the conversion found.
	p, err := draft.Complete()
	if err != nil {
		c.problems = append(c.problems, c.placed(err)...)
	}
	if len(c.problems) > 0 {
		return nil, ignored, c.problems.sorted(order)
	}
	return p, ignored, nil
}

// unsetVariables tells of variables that are taken as empty.
func (w *walk) unsetVariables() []Ignored {
	var out []Ignored
	for _, name := range slices.Sorted(maps.Keys(w.unset)) {
		at := w.unset[name]
		out = append(out, Ignored{File: at.file, Line: at.line, Column: at.column, Key: "${" + name + "}", Reason: "the variable is not set, and taken as empty"})
	}
	return out
}

// explain makes what the library says a problem, with a place where it names one.
func (w *walk) explain(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known Problems
	if errors.As(err, &known) {
		return known
	}
	message := strings.Join(strings.Fields(err.Error()), " ")
	p := &Problem{File: w.file.name, Text: message}
	// The library's errors have no fields. Its message begins with, or has, the path of what it is about.
	for word := range strings.FieldsSeq(message) {
		path := strings.Split(strings.Trim(word, "`'\":,;()"), ".")
		if at, ok := w.places[joined(path)]; ok && len(path) > 1 {
			p.File, p.Line, p.Column, p.Key = at.file, at.line, at.column, words(path)
			break
		}
	}
	return Problems{p}
}

// refused tells what is not supported where the files are not sound enough to know which services are started.
func (w *walk) refused(o Options) Problems {
	var out Problems
	for _, r := range w.refusals {
		if r.status == refused && !o.IgnoreUnsupported && !w.takenBack(r) && (r.service() == "" || !w.profiled[r.service()]) {
			out = append(out, r.problem())
		}
	}
	return out
}

// refusals are the keys that are not carried out, as far as they are of services that are started.
func (c *converter) refusals() []Ignored {
	var ignored []Ignored
	for _, r := range c.walk.refusals {
		if _, disabled := c.project.DisabledServices[r.service()]; disabled || c.walk.takenBack(r) {
			continue
		}
		if r.foreign && r.status == refused && !c.sources.has(r) {
			continue
		}
		if r.status == refused && !c.options.IgnoreUnsupported {
			c.problems = append(c.problems, r.problem())
			continue
		}
		ignored = append(ignored, Ignored{File: r.at.file, Line: r.at.line, Column: r.at.column, Key: words(r.path), Reason: r.text, Unsupported: r.status == refused})
	}
	return ignored
}

// has tells whether the merged model still has what was refused in a file that others include or extend: that may have been
// of a service that nobody extends, or taken back since. Its service can have another name there.
func (s *sources) has(r refusal) bool {
	return slices.ContainsFunc(s.left, func(found loader.UnsupportedAttribute) bool {
		path := found.Path.Parts()
		if len(path) != len(r.path) {
			return false
		}
		for i, part := range r.path {
			named := i == 1 && path[0] == "services"
			if part != path[i] && !named && (path[i] != tree.PathMatchList || !strings.HasPrefix(part, "[")) {
				return false
			}
		}
		return true
	})
}

// service is whose key it is; empty for none's.
func (r refusal) service() string {
	if len(r.path) > 1 && r.path[0] == "services" {
		return r.path[1]
	}
	return ""
}

func (r refusal) problem() *Problem {
	return &Problem{File: r.at.file, Line: r.at.line, Column: r.at.column, Key: words(r.path), Text: "not supported: " + r.text}
}

// takenBack tells whether a later file resets what was refused.
func (w *walk) takenBack(r refusal) bool {
	return slices.ContainsFunc(w.resets[r.sequence:], func(reset []string) bool {
		return !r.foreign && len(reset) <= len(r.path) && slices.Equal(reset, r.path[:len(reset)])
	})
}

// placed gives the plan's problems their places in the files.
func (c *converter) placed(err error) Problems {
	var found plan.Problems
	if !errors.As(err, &found) {
		return Problems{{File: c.walk.file.name, Text: err.Error()}}
	}
	var out Problems
	for _, p := range found {
		out = append(out, c.problem(c.walk.find(p.Path), p.Path, p.Text))
	}
	return out
}

// problem is at a place, or where that is not known, of the first file.
func (c *converter) problem(at place, path []string, text string) *Problem {
	if at.file == "" {
		at.file = c.sources.files[0].name
	}
	return &Problem{File: at.file, Line: at.line, Column: at.column, Key: words(path), Text: text}
}

func (c *converter) addf(path []string, format string, args ...any) {
	c.problems = append(c.problems, c.problem(c.walk.find(path), path, fmt.Sprintf(format, args...)))
}

// addItemf tells of the item of a list at path that matches, see walk.item.
func (c *converter) addItemf(path []string, matches func(value func(string) string) bool, format string, args ...any) {
	at, found := c.walk.item(path, matches)
	if !found {
		at = c.walk.find(path)
	}
	c.problems = append(c.problems, c.problem(at, path, fmt.Sprintf(format, args...)))
}

// notef tells of a value that changes nothing where others of its key do.
func (c *converter) notef(path []string, format string, args ...any) {
	p := c.problem(c.walk.find(path), path, fmt.Sprintf(format, args...))
	c.ignored = append(c.ignored, Ignored{File: p.File, Line: p.Line, Column: p.Column, Key: p.Key, Reason: p.Text})
}

// refusef tells of a value that is not supported where others of its key are.
func (c *converter) refusef(path []string, format string, args ...any) {
	p := c.problem(c.walk.find(path), path, fmt.Sprintf(format, args...))
	if c.options.IgnoreUnsupported {
		c.ignored = append(c.ignored, Ignored{File: p.File, Line: p.Line, Column: p.Column, Key: p.Key, Reason: p.Text, Unsupported: true})
		return
	}
	c.problems = append(c.problems, p)
}

// mountedAt matches the item of volumes with a target.
func mountedAt(target string) func(func(string) string) bool {
	return func(value func(string) string) bool {
		text := value("")
		return value("target") == target || text == target || strings.HasSuffix(text, ":"+target) || strings.Contains(text, ":"+target+":")
	}
}

// written matches the item that is a text.
func written(text string) func(func(string) string) bool {
	return func(value func(string) string) bool {
		return value("") == text || value("source") == text || value("path") == text
	}
}
