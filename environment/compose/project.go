package compose

import (
	"context"
	"fmt"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// Name returns the name that Load would give the environment, without looking at
// more of the files than that takes: they need not be right. The error wraps
// ErrNoFile or is as Load's.
func Name(ctx context.Context, o Options) (string, error) {
	s, err := gather(o)
	if err != nil {
		// A name that is given needs no file.
		if name := named(o); name != "" {
			return name, nil
		}
		return "", err
	}
	name, explicit := s.projectName(o)
	if !explicit {
		if name, err = s.nameInFiles(ctx, o, name); err != nil {
			return "", err
		}
	}
	if !plan.IsName(name) {
		return "", Problems{{File: s.files[0].name, Key: "name", Text: fmt.Sprintf("%q is no name of an environment: write a-z, 0-9, _ and - after a letter or digit, at most 63", name)}}
	}
	return name, nil
}

// named is the name that does not come from a file.
func named(o Options) string {
	if o.Name != "" {
		return o.Name
	}
	for _, variable := range o.Environ {
		if name, ok := strings.CutPrefix(variable, "COMPOSE_PROJECT_NAME="); ok {
			return name
		}
	}
	return ""
}

// nameInFiles is the last name: of the files, else the directory's. One that is made
// of variables has the library read them whole.
func (s *sources) nameInFiles(ctx context.Context, o Options, name string) (string, error) {
	for _, f := range s.files {
		documents, problem := f.documents()
		if problem != nil {
			return "", Problems{problem}
		}
		for _, d := range documents {
			for i := 0; i+1 < len(d.Content); i += 2 {
				if d.Content[i].Value == "name" {
					name = d.Content[i+1].Value
				}
			}
		}
	}
	if !strings.Contains(name, "$") {
		return loader.NormalizeProjectName(name), nil
	}
	project, err := s.load(ctx, o, false)
	if err != nil {
		return "", err
	}
	return project.Name, nil
}

// Variables returns those that the files are read with: the caller's, and those of
// EnvFiles or .env that the caller has not. The error is as Load's.
func Variables(o Options) (map[string]string, error) {
	s, err := gather(o)
	if err != nil {
		return nil, err
	}
	return s.variables, nil
}

// Render returns the project that the files make, merged and with variables filled
// in, as "yaml" or "json", in the form that docker compose config prints. What has
// no effect here is in it too. The error is as Load's; Load tells more.
func Render(ctx context.Context, o Options, format string) ([]byte, error) {
	s, err := gather(o)
	if err != nil {
		return nil, err
	}
	project, err := s.load(ctx, o, true)
	if err != nil {
		return nil, err
	}
	if project, err = project.WithServicesEnvironmentResolved(true); err != nil {
		return nil, fmt.Errorf("read env_file: %w", err)
	}
	if format == "json" {
		text, err := project.MarshalJSON()
		return append(text, '\n'), err
	}
	return project.MarshalYAML()
}
