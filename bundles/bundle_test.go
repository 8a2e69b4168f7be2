package bundles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWriteAndLoad(t *testing.T) {
	dir := t.TempDir()
	want := mustDefault(t)
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	bundle, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Dir != dir || !reflect.DeepEqual(bundle.Spec, want) {
		t.Errorf("got %s\nwant %s", toJSON(t, bundle), toJSON(t, want))
	}
	info, err := os.Stat(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}

	// A second one leaves the first alone.
	err = Write(dir, mustDefault(t, WithHostname("other")))
	if want := `cannot write bundle "` + dir + `": config.json exists; remove it first`; errorText(err) != want || !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want %s", err, want)
	}
	if again, err := Load(dir); err != nil || !reflect.DeepEqual(again.Spec, want) {
		t.Errorf("the first was changed: %v", err)
	}
}

func TestLoadTakesRelativePaths(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "b"), mustDefault(t)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if bundle, err := Load("./b/../b"); err != nil || bundle.Dir != filepath.Join(dir, "b") {
		t.Errorf("got %+v, %v", bundle, err)
	}
	t.Chdir("b")
	if bundle, err := Load(""); err != nil || bundle.Dir != filepath.Join(dir, "b") {
		t.Errorf("got %+v, %v", bundle, err)
	}
}

// TestLoadErrors wants the exact line; DIR in it is the bundle.
func TestLoadErrors(t *testing.T) {
	write := func(t *testing.T, dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		setup func(t *testing.T, dir string)
		want  string
		is    error
	}{
		{"no directory", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": the directory does not exist; name a directory that has a config.json`, ErrNotFound},
		{"file", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": it is not a directory; name the directory that has the config.json`, ErrNotDirectory},
		{"no config", func(*testing.T, string) {},
			`cannot load bundle "DIR": config.json is missing; write one by hand or with "sandboxrun spec --bundle DIR"`, ErrNoConfig},
		{"dangling link", func(t *testing.T, dir string) {
			if err := os.Symlink("nowhere", filepath.Join(dir, ConfigFile)); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": config.json is missing; write one by hand or with "sandboxrun spec --bundle DIR"`, ErrNoConfig},
		{"directory as config", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, ConfigFile), 0o755); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": config.json is not a regular file; replace it by a file`, ErrNotRegular},
		{"pipe as config", func(t *testing.T, dir string) {
			if err := unix.Mkfifo(filepath.Join(dir, ConfigFile), 0o644); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": config.json is not a regular file; replace it by a file`, ErrNotRegular},
		{"too large", func(t *testing.T, dir string) {
			write(t, dir, "")
			if err := os.Truncate(filepath.Join(dir, ConfigFile), MaxConfigBytes+1); err != nil {
				t.Fatal(err)
			}
		}, `cannot load bundle "DIR": config.json is too large; at most 8388608 bytes are read`, ErrTooLarge},
		{"empty", func(t *testing.T, dir string) { write(t, dir, "") },
			`load bundle "DIR": config.json: not JSON: the file is empty`, nil},
		{"not JSON", func(t *testing.T, dir string) { write(t, dir, "{\n}}") },
			`load bundle "DIR": config.json: not JSON: line 2, column 2: invalid character '}' after top-level value`, nil},
		{"wrong type", func(t *testing.T, dir string) { write(t, dir, `{"process": {"args": [1]}}`) },
			`load bundle "DIR": config.json: process.args[0]: must be a string, not 1`, nil},
		{"not valid", func(t *testing.T, dir string) {
			write(t, dir, `{"ociVersion": "2.0.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["a"]}, "linux": {"namespaces": [{"type": "mount"}]}}`)
		}, `load bundle "DIR": config.json: ociVersion: must be 1.x.y, not "2.0.0"; this runtime implements 1.3.0`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bundle")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			test.setup(t, dir)
			started := time.Now()
			bundle, err := Load(dir)
			if err == nil {
				t.Fatalf("Load accepted it: %+v", bundle)
			}
			if want := strings.ReplaceAll(test.want, "DIR", dir); err.Error() != want {
				t.Errorf("got:  %s\nwant: %s", err, want)
			}
			var specErr *SpecError
			if test.is != nil && !errors.Is(err, test.is) || test.is == nil && !errors.As(err, &specErr) {
				t.Errorf("wrong kind of error: %#v", err)
			}
			if time.Since(started) > 5*time.Second {
				t.Error("Load waited")
			}
		})
	}
}

// TestExplainPermission is no case of TestLoadErrors, since root may read anything.
func TestExplainPermission(t *testing.T) {
	err := explainRead("/b", ConfigFile, &fs.PathError{Op: "open", Path: "/b/config.json", Err: unix.EACCES})
	want := `cannot load bundle "/b": read config.json: permission denied; run as a user who may read it`
	if errorText(err) != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadFollowsLinkToFile(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, mustDefault(t)); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, ConfigFile), filepath.Join(linked, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(linked); err != nil {
		t.Error(err)
	}
}

func TestWriteErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if err := Write(missing, mustDefault(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, ConfigFile)); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, mustDefault(t)); !errors.Is(err, ErrExists) {
		t.Errorf("a dangling link: got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	if err := Write(dir, mustDefault(b)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
