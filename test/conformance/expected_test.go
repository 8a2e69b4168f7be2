package conformance

import (
	_ "embed"
	"strings"
	"testing"
)

//go:embed testdata/expected.txt
var expectedTable string

func TestReadExpected(t *testing.T) {
	got, err := readExpected("# comment\n\ndefault pass fail silent\nhooks silent pass pass because it is\n")
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if e := got[1]; e.name != "hooks" || e.reason != "because it is" || e.verdicts["sandboxrun"] != silent || e.verdicts["crun"] != passed {
		t.Errorf("got %+v", e)
	}
	for table, problem := range map[string]string{
		"default pass pass":                                    "3 fields",
		"default - pass pass none":                             `"-" is no verdict`,
		"default pass pass good":                               `"good" is no verdict`,
		"default fail pass pass":                               "a reason is for",
		"default pass pass pass needless":                      "a reason is for",
		"a pass pass pass\nb pass pass pass\na pass pass pass": "line 3: a is there twice",
	} {
		if _, err := readExpected(table); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("readExpected(%q) = %v, want %q", table, err, problem)
		}
	}
}

// What runc and crun pass, sandboxrun passes; what does not has a reason.
func TestSandboxrunPassesWhatOthersPass(t *testing.T) {
	list, err := readExpected(expectedTable)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.verdicts["runc"] == passed && e.verdicts["sandboxrun"] != passed {
			t.Errorf("%s: runc passes it", e.name)
		}
	}
}
