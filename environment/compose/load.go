package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

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
	foreign := w.follow(s.dir)
	order := s.names()
	if len(w.problems) > 0 {
		return nil, nil, w.problems.sorted(order)
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
	if len(c.problems) > 0 {
		return nil, ignored, c.problems.sorted(order)
	}
	if o.Adjust != nil {
		if err := o.Adjust(&draft); err != nil {
			return nil, ignored, err
		}
	}
	p, err := draft.Complete()
	if err != nil {
		return nil, ignored, c.placed(err).sorted(order)
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

// refusals are the keys that are not carried out, as far as they are of services that are started.
func (c *converter) refusals() []Ignored {
	var ignored []Ignored
	for _, r := range c.walk.refusals {
		if c.idle(r.path) || c.walk.takenBack(r) {
			continue
		}
		if r.status == refused && !c.options.IgnoreUnsupported {
			c.problems = append(c.problems, &Problem{File: r.at.file, Line: r.at.line, Column: r.at.column, Key: words(r.path), Text: "it is not supported: " + r.text})
			continue
		}
		ignored = append(ignored, Ignored{File: r.at.file, Line: r.at.line, Column: r.at.column, Key: words(r.path), Reason: r.text, Unsupported: r.status == refused})
	}
	return ignored
}

// idle tells whether a path is of a service that no profile enables.
func (c *converter) idle(path []string) bool {
	if len(path) < 2 || path[0] != "services" {
		return false
	}
	_, disabled := c.project.DisabledServices[path[1]]
	return disabled
}

// takenBack tells whether a later file resets what was refused.
func (w *walk) takenBack(r refusal) bool {
	return slices.ContainsFunc(w.resets[r.sequence:], func(reset []string) bool {
		return len(reset) <= len(r.path) && slices.Equal(reset, r.path[:len(reset)])
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
		at := c.walk.find(p.Path, "")
		if at == (place{}) {
			at.file = c.sources.files[0].name
		}
		out = append(out, &Problem{File: at.file, Line: at.line, Column: at.column, Key: words(p.Path), Text: p.Text})
	}
	return out
}

func (c *converter) addf(path []string, format string, args ...any) {
	c.addItemf(path, "", format, args...)
}

// addItemf tells of the item of a list that is written as text.
func (c *converter) addItemf(path []string, text, format string, args ...any) {
	at := c.walk.find(path, text)
	if at == (place{}) {
		at.file = c.sources.files[0].name
	}
	c.problems = append(c.problems, &Problem{File: at.file, Line: at.line, Column: at.column, Key: words(path), Text: fmt.Sprintf(format, args...)})
}

// refusef tells of a value that is not supported where others of its key are.
func (c *converter) refusef(path []string, text, format string, args ...any) {
	at := c.walk.find(path, text)
	message := fmt.Sprintf(format, args...)
	if c.options.IgnoreUnsupported {
		c.ignored = append(c.ignored, Ignored{File: at.file, Line: at.line, Column: at.column, Key: words(path), Reason: message, Unsupported: true})
		return
	}
	c.problems = append(c.problems, &Problem{File: at.file, Line: at.line, Column: at.column, Key: words(path), Text: message})
}
