package compose

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
)

const documentation = "../../docs/compose.md"

// TestDocumentationHasTheTable holds docs/compose.md and attributes together.
func TestDocumentationHasTheTable(t *testing.T) {
	text, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), "<!-- keys -->\n")
	_, after, foundEnd := strings.Cut(rest, "<!-- end of keys -->\n")
	if !found || !foundEnd {
		t.Fatal("the marks of the table are not there")
	}
	var table strings.Builder
	table.WriteString("| key | | |\n|---|---|---|\n")
	for _, a := range attributes {
		key := "`" + a.path + "`"
		if a.below {
			key += " and below"
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", key, a.status, strings.ReplaceAll(a.text, " | ", "; "))
	}
	want := before + "<!-- keys -->\n" + table.String() + "<!-- end of keys -->\n" + after
	golden(t, documentation, []byte(want))
}

// TestEveryKeyOfTheSpecificationIsInTheTable compares with the schema in both directions.
func TestEveryKeyOfTheSpecificationIsInTheTable(t *testing.T) {
	table := attributeTable()
	if len(table) != len(attributes) {
		t.Errorf("%d rows have %d paths: one is there twice", len(attributes), len(table))
	}
	known := map[string]bool{}
	for _, p := range schema.AttributePaths() {
		path := strings.ReplaceAll(p.String(), "👻", ".")
		known[path] = true
		if table[path] == nil && !covered(table, path) {
			t.Errorf("%s is in the specification and in no row", path)
		}
	}
	if len(known) < 700 {
		t.Errorf("the specification has only %d keys", len(known))
	}
	for _, a := range attributes {
		if !known[a.path] && a.path != "services.*.pre_start.[].*" {
			t.Errorf("%s is in a row and not in the specification", a.path)
		}
		if a.status == refused && a.text == "" {
			t.Errorf("%s is refused without a reason", a.path)
		}
		if (a.status == differs || a.status == noted) && a.text == "" {
			t.Errorf("%s: it is not said how it %s", a.path, a.status)
		}
	}
}

// covered tells whether a row above says that it is of all below it, as attributeOf sees it.
func covered(table map[string]*attribute, path string) bool {
	a := attributeOf(table, path)
	row := table[a.path]
	return row != nil && row.below
}
