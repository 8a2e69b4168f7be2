package compose_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sandboxrun/sandboxrun/environment/compose"
)

// TestBadInput loads each archive of testdata/bad and compares the whole error with its last file, "want". -update writes
// it. A line "#variables NAME=VALUE" in the comment sets a variable, "#option X" one of Options.
func TestBadInput(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(archives) < 40 {
		t.Fatalf("there are only %d archives (%v)", len(archives), err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			p, ignored, err := compose.Load(t.Context(), extract(t, a))
			if err == nil {
				t.Fatalf("it loads:\n%s", p.Text())
			}
			if p != nil {
				t.Error("there are a plan and an error")
			}
			got := err.Error() + "\n"
			for _, i := range ignored {
				got += i.String() + "\n"
			}
			compare(t, archive, a, "want", got)
		})
	}
}

// extract writes an archive's files into a directory called "project", makes it the working directory, and returns the
// options that the archive asks for.
func extract(t *testing.T, a *txtar.Archive) compose.Options {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var o compose.Options
	for line := range strings.Lines(string(a.Comment)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "#variable":
			o.Environ = append(o.Environ, rest)
		case "#file":
			o.Files = append(o.Files, rest)
		case "#profile":
			o.Profiles = append(o.Profiles, rest)
		case "#service":
			o.Services = append(o.Services, rest)
		case "#name":
			o.Name = rest
		case "#env-file":
			o.EnvFiles = append(o.EnvFiles, rest)
		case "#ignore-unsupported":
			o.IgnoreUnsupported = true
		case "#stdin":
			o.Stdin = strings.NewReader(rest)
		}
	}
	return o
}

// compare compares with a file of the archive, or writes it with -update. Paths of the test's directory are told as DIR.
func compare(t *testing.T, archive string, a *txtar.Archive, name, got string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, dir, "DIR")
	for i := range a.Files {
		if a.Files[i].Name != name {
			continue
		}
		if string(a.Files[i].Data) == got {
			return
		}
		if compose.Update() {
			a.Files[i].Data = []byte(got)
			write(t, archive, a)
			return
		}
		t.Errorf("got:\n%s\nwant:\n%s", got, a.Files[i].Data)
		return
	}
	if !compose.Update() {
		t.Fatalf("%s has no file %q; write it with -update", archive, name)
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(got)})
	write(t, archive, a)
}

// testdata is the package's directory, which tests leave.
var packageDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

func write(t *testing.T, archive string, a *txtar.Archive) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(packageDir, archive), txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, want := range map[string]string{
		"none.yaml": "cannot read none.yaml: no Compose file of this name; name one that is there with -f FILE",
		".":         "; name a Compose file with -f FILE",
	} {
		_, _, err := compose.Load(t.Context(), compose.Options{Files: []string{name}})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}
