package compose_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sandboxrun/sandboxrun/environment/compose"
)

// TestSources tells from which files and variables an environment is made. Each service's image tells of them.
func TestSources(t *testing.T) {
	const a = "services: {a: {image: \"a-${V-none}\"}}\n"
	const b = "services: {b: {image: \"b-${V-none}\"}}\n"
	tests := []struct {
		name, archive string
		// dir is where it is called, below the project.
		dir  string
		want string
	}{
		{"the usual file", "-- compose.yaml --\n" + a + "-- docker-compose.yml --\n" + b, ".", "a-none"},
		{"an older name", "-- docker-compose.yml --\n" + b, ".", "b-none"},
		{"with its override", "-- compose.yml --\n" + a + "-- compose.override.yaml --\n" + b, ".", "a-none b-none"},
		{"above", "-- compose.yaml --\n" + a + "-- .env --\nV=1\n-- sub/dir/.env --\nV=2\n", "sub/dir", "a-1"},
		{"named", "#file b.yaml\n-- compose.yaml --\n" + a + "-- b.yaml --\n" + b, ".", "b-none"},
		{"named elsewhere", "#file sub/b.yaml\n-- .env --\nV=1\n-- sub/b.yaml --\n" + b + "-- sub/.env --\nV=2\n", ".", "b-2"},
		{"several", "#file a.yaml\n#file b.yaml\n-- a.yaml --\n" + a + "-- b.yaml --\n" + b, ".", "a-none b-none"},
		{"by a variable", "#variable COMPOSE_FILE=a.yaml:b.yaml\n-- a.yaml --\n" + a + "-- b.yaml --\n" + b, ".", "a-none b-none"},
		{"by a variable with its separator", "#variable COMPOSE_FILE=a.yaml,b.yaml\n#variable COMPOSE_PATH_SEPARATOR=,\n-- a.yaml --\n" + a + "-- b.yaml --\n" + b, ".", "a-none b-none"},
		{"by a variable of .env", "-- .env --\nCOMPOSE_FILE=a.yaml\n-- a.yaml --\n" + a, ".", "a-none"},
		{"flags win over variables", "#file b.yaml\n#variable COMPOSE_FILE=a.yaml\n-- a.yaml --\n" + a + "-- b.yaml --\n" + b, ".", "b-none"},
		{"the caller's variables win", "#variable V=caller\n-- .env --\nV=file\n-- compose.yaml --\n" + a, ".", "a-caller"},
		{"the later file of variables wins", "#env-file 1.env\n#env-file 2.env\n-- .env --\nV=0\n-- 1.env --\nV=1\n-- 2.env --\nV=2\n-- compose.yaml --\n" + a, ".", "a-2"},
		{"files of variables by a variable", "#variable COMPOSE_ENV_FILES=1.env,2.env\n-- 1.env --\nW=1\n-- 2.env --\nV=${W}2\n-- compose.yaml --\n" + a, ".", "a-12"},
		{"no file of variables", "#variable COMPOSE_DISABLE_ENV_FILE=1\n-- .env --\nV=1\n-- compose.yaml --\n" + a, ".", "a-none"},
		{"profiles", "#profile p\n-- compose.yaml --\nservices: {a: {image: a, profiles: [p]}, b: {image: b, profiles: [q]}, c: {image: c}}\n", ".", "a c"},
		{"profiles by a variable", "#variable COMPOSE_PROFILES=q,p\n-- compose.yaml --\nservices: {a: {image: a, profiles: [p]}, b: {image: b, profiles: [q]}}\n", ".", "a b"},
		{"chosen services with what they need", "#service b\n-- compose.yaml --\nservices: {a: {image: a}, b: {image: b, depends_on: [c]}, c: {image: c}}\n", ".", "c b"},
		{"a chosen service needs no profile", "#service a\n-- compose.yaml --\nservices: {a: {image: a, profiles: [p]}, b: {image: b}}\n", ".", "a"},
		{"standard input", "#file -\n#stdin services: {a: {image: a}}\n", ".", "a"},
		{"several documents", "-- compose.yaml --\n" + a + "---\n" + b, ".", "a-none b-none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := extract(t, txtar.Parse([]byte(tt.archive)))
			if err := os.MkdirAll(tt.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Chdir(tt.dir)
			p, _, err := compose.Load(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range p.Services {
				got = append(got, strings.TrimPrefix(s.Image.Source, "docker://"))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestNoFileAnywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	_, _, err := compose.Load(t.Context(), compose.Options{})
	if !errors.Is(err, compose.ErrNoFile) || !strings.Contains(err.Error(), "-f FILE") {
		t.Errorf("got %v, want one of ErrNoFile that says what to do", err)
	}
}

// TestProjectsDirectory is where paths are meant from.
func TestProjectsDirectory(t *testing.T) {
	o := extract(t, txtar.Parse([]byte("-- sub/compose.yaml --\nservices: {a: {x-sandbox: {rootfs: root}}}\n-- other/x --\n")))
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	o.Files = []string{"sub/compose.yaml"}
	for _, tt := range []struct{ dir, want string }{{"", "sub/root"}, {"other", "other/root"}} {
		o.Dir = tt.dir
		p, _, err := compose.Load(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Services[0].Image.Source; got != filepath.Join(dir, tt.want) {
			t.Errorf("with the directory %q got %s, want DIR/%s", tt.dir, got, tt.want)
		}
	}
}
