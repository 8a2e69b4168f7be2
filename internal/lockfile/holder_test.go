package lockfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTakenByTheDead has a lock taken by a process that passes it on to a child
// and ends.
func TestTakenByTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	want := func(what string, want bool) {
		t.Helper()
		if got, err := TakenByTheDead(path); err != nil || got != want {
			t.Errorf("%s: TakenByTheDead() = %v, %v, want %v", what, got, err, want)
		}
	}
	want("no file", true)
	mine, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	want("held by a living process", false)
	if err := mine.Release(); err != nil {
		t.Fatal(err)
	}
	want("held by nobody", true)

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	// flock ends at once, and cat holds what it has locked.
	holder := exec.Command("bash", "-c", `exec 9>"$0"; flock -n 9 || exit 1; cat >/dev/null <&3 &`, path)
	holder.ExtraFiles = []*os.File{reader}
	if err := holder.Run(); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if _, err := TryLock(path); err == nil {
		t.Fatal("the lock is not held")
	}
	want("held by the child of a dead process", true)
}
