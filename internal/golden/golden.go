package golden

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

// update is a flag of every test binary with golden files.
var update = flag.Bool("update", false, "write the golden files anew")

// Compare fails the test if got is not what the file at path has. With -update
// it writes the file first.
func Compare(t testing.TB, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; go test -update and git diff show how. Got:\n%s\nwant:\n%s", path, got, want)
	}
}
