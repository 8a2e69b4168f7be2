package compose_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment/compose"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestNameIsLoads(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		given   string
		environ []string
		want    string
	}{
		"directory":         {"services: {a: {image: x}}", "", nil, "my_shop"},
		"file":              {"name: shop\nservices: {a: {image: x}}", "", nil, "shop"},
		"variable in it":    {"name: shop-${WHO:-me}\nservices: {a: {image: x}}", "", []string{"WHO=you"}, "shop-you"},
		"variable":          {"name: shop\nservices: {a: {image: x}}", "", []string{"COMPOSE_PROJECT_NAME=other"}, "other"},
		"flag":              {"name: shop\nservices: {a: {image: x}}", "flag", []string{"COMPOSE_PROJECT_NAME=other"}, "flag"},
		"several documents": {"name: one\n---\nname: two\nservices: {a: {image: x}}", "", nil, "two"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "My_Shop.")
			file := filepath.Join(dir, "compose.yaml")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, []byte(test.text), 0o644)); err != nil {
				t.Fatal(err)
			}
			o := compose.Options{Files: []string{file}, Name: test.given, Environ: test.environ}
			got, err := compose.Name(t.Context(), o)
			if err != nil || got != test.want {
				t.Errorf("Name() = %q, %v; want %q", got, err, test.want)
			}
			p, _, err := compose.Load(t.Context(), o)
			if err != nil || p.Name != test.want {
				t.Errorf("Load() gives %v, %v; want the name %q", p, err, test.want)
			}
		})
	}
	if _, err := compose.Name(t.Context(), compose.Options{Dir: t.TempDir(), Files: []string{"/no/such"}}); !errors.Is(err, compose.ErrNoFile) {
		t.Errorf("without a file: %v", err)
	}
	if name, err := compose.Name(t.Context(), compose.Options{Files: []string{"/no/such"}, Environ: []string{"COMPOSE_PROJECT_NAME=x"}}); err != nil || name != "x" {
		t.Errorf("without a file, with a variable: %q, %v", name, err)
	}
}

func TestAdjustChangesWhatIsPlanned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte("services: {a: {image: x, expose: [\"80\", \"53/udp\", \"90-91\"]}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var exposed []plan.Port
	o := compose.Options{Files: []string{file}, Adjust: func(d *plan.Draft) error {
		exposed = d.Services[0].Exposed
		d.Services[0].Replicas = 3
		return nil
	}}
	p, _, err := compose.Load(t.Context(), o)
	if err != nil || len(p.Services[0].Instances) != 3 {
		t.Errorf("got %v, %v", p, err)
	}
	if len(exposed) != 4 || exposed[1].Protocol != "udp" || exposed[3].Target != 91 || exposed[0].Protocol != "tcp" {
		t.Errorf("exposed are %+v", exposed)
	}
	refused := errors.New("refused")
	o.Adjust = func(*plan.Draft) error { return refused }
	if _, _, err := compose.Load(t.Context(), o); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
}

func TestRenderFillsIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte("services: {a: {image: \"x:${TAG:-7}\"}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"yaml": "image: x:7", "json": `"image": "x:7"`} {
		text, err := compose.Render(t.Context(), compose.Options{Files: []string{file}}, format)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v; want %q", format, text, err, want)
		}
	}
}

func TestVariablesAreThoseOfFilesToo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "compose.yaml")
	err := errors.Join(os.WriteFile(file, []byte("services: {a: {image: x}}"), 0o644), os.WriteFile(filepath.Join(dir, ".env"), []byte("A=file\nB=file\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	got, err := compose.Variables(compose.Options{Files: []string{file}, Environ: []string{"A=caller"}})
	if err != nil || got["A"] != "caller" || got["B"] != "file" {
		t.Errorf("got %v, %v", got, err)
	}
}
