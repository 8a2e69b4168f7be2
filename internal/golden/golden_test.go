package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// recorder notes what would fail a test. A fatal error ends its goroutine.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic(r) }

// compare tells whether a comparison holds.
func compare(t *testing.T, path, got string) (equal bool) {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
		equal = !r.failed
	}()
	Compare(r, path, []byte(got))
	return true
}

func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if compare(t, path, "text") {
		t.Error("a file that is not there is as it should be")
	}
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !compare(t, path, "text") || compare(t, path, "text\n") || compare(t, path, "") {
		t.Error("what differs is equal, or the other way round")
	}
}

func TestUpdateWrites(t *testing.T) {
	update := flag.Lookup("update")
	if err := update.Value.Set("true"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := update.Value.Set("false"); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "file")
	if !compare(t, path, "text") || !compare(t, path, "other") {
		t.Error("it was not written anew")
	}
	if written, err := os.ReadFile(path); err != nil || string(written) != "other" {
		t.Errorf("got %q, %v", written, err)
	}
}
