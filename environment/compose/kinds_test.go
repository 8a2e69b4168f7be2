package compose

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"
)

// TestWrongKinds puts a value of each kind in place of each value of a sample. Whatever loads must be right by the library's
// own schema, and nothing may make the library panic.
func TestWrongKinds(t *testing.T) {
	for _, sample := range []string{"lifecycle", "aspnet-mssql"} {
		t.Run(sample, func(t *testing.T) {
			a, err := txtar.ParseFile("testdata/samples/" + sample + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			var document yaml.Node
			if err := yaml.Unmarshal(a.Files[0].Data, &document); err != nil {
				t.Fatal(err)
			}
			var nodes []*yaml.Node
			var walk func(n *yaml.Node)
			walk = func(n *yaml.Node) {
				for i, child := range n.Content {
					if n.Kind != yaml.MappingNode || i%2 == 1 {
						nodes = append(nodes, child)
						walk(child)
					}
				}
			}
			walk(document.Content[0])
			loaded := 0
			for _, n := range nodes {
				before := *n
				for _, value := range []string{"null", "[]", "{}", "[x]", "{x: y}", "x", "5", "true", `"5"`} {
					var other yaml.Node
					if err := yaml.Unmarshal([]byte(value), &other); err != nil {
						t.Fatal(err)
					}
					*n = *other.Content[0]
					data, err := yaml.Marshal(&document)
					if err != nil {
						continue // an anchor is gone
					}
					if loads(t, data) {
						loaded++
					}
				}
				*n = before
			}
			if loaded == 0 {
				t.Error("nothing loads: the test tests nothing")
			}
		})
	}
}

// loads tells whether data loads, and holds the library's schema against it.
func loads(t *testing.T, data []byte) bool {
	t.Helper()
	options := func() Options {
		return Options{Files: []string{"-"}, Stdin: bytes.NewReader(data), Dir: os.TempDir()}
	}
	_, _, err := Load(t.Context(), options())
	if err != nil {
		if strings.Contains(err.Error(), "cannot be understood") {
			t.Errorf("the library panics: %v\n%s", err, data)
		}
		return false
	}
	s, err := gather(options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.load(t.Context(), options(), true); err != nil {
		t.Errorf("the library's schema refuses what loads: %v\n%s", err, data)
	}
	return true
}
