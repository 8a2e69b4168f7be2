package conformance

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the results in docs/conformance.md")

func TestDocument(t *testing.T) {
	list, err := readExpected("a pass fail -\nb fail fail - it looks elsewhere\nc fail fail - it looks elsewhere\nd silent fail - it says nothing\n")
	if err != nil {
		t.Fatal(err)
	}
	const want = `| of 4 | sandboxrun | runc | crun |
|---|---|---|---|
| pass | 1 | 0 | 0 |
| silent | 1 | 0 | 0 |
| fail | 2 | 4 | 0 |
| not recorded | 0 | 0 | 4 |

What sandboxrun does not pass, and why:

| executable | sandboxrun | runc | crun | why |
|---|---|---|---|---|
| ` + "`b`, `c`" + ` | fail | fail | - | it looks elsewhere |
| ` + "`d`" + ` | silent | fail | - | it says nothing |
`
	if got := document(list); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// docs/conformance.md tells what the table says.
func TestDocumentIsUpToDate(t *testing.T) {
	if os.Getenv("SANDBOXRUN_IN_VM") != "" {
		t.Skip("the documents are not in the VM")
	}
	list, err := readExpected(expectedTable)
	if err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/conformance.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(data), documentBegin)
	got, tail, ends := strings.Cut(rest, documentEnd)
	if !begins || !ends {
		t.Fatalf("%s has no %q and %q", path, documentBegin, documentEnd)
	}
	want := "\n" + document(list) + "\n"
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not have the results; run go test ./test/conformance -update. It has\n%s", path, got)
	}
	if err := os.WriteFile(path, []byte(head+documentBegin+want+documentEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
