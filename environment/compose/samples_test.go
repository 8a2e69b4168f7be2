package compose_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sandboxrun/sandboxrun/environment/compose"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// TestSamples loads projects of the shapes that people have: each archive of testdata/samples has a project, its plan as
// text, and what is ignored. -update writes the last two. The plan has to survive JSON as it is.
func TestSamples(t *testing.T) {
	archives, err := filepath.Glob("testdata/samples/*.txtar")
	if err != nil || len(archives) < 20 {
		t.Fatalf("there are only %d archives (%v)", len(archives), err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			o := extract(t, a)
			p, ignored, err := compose.Load(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			lines := ""
			for _, i := range ignored {
				lines += i.String() + "\n"
			}
			compare(t, archive, a, "want-plan", p.Text())
			compare(t, archive, a, "want-ignored", lines)
			if strings.Contains(string(a.Comment), "#json") {
				text, err := json.MarshalIndent(p, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				compare(t, archive, a, "want-json", string(text)+"\n")
			}
			again, _, err := compose.Load(t.Context(), o)
			if err != nil || !reflect.DeepEqual(p, again) {
				t.Errorf("the same files give another plan (%v)", err)
			}
			roundTrip(t, p)
		})
	}
}

func roundTrip(t *testing.T, p *plan.Plan) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back plan.Plan
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("the plan is another one after JSON (%v):\n%s\n%s", err, text, again)
	}
	if before, after := p.Text(), back.Text(); before != after {
		t.Errorf("before JSON:\n%s\nafter:\n%s", before, after)
	}
}
