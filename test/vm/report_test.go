package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reportDisk returns a report disk as the guest writes it.
func reportDisk(t testing.TB, header string, entries ...tar.Header) *bytes.Reader {
	t.Helper()
	disk := make([]byte, reportTarOffset)
	copy(disk, header)
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, entry := range entries {
		content := []byte("content of " + entry.Name)
		if entry.Typeflag == tar.TypeReg {
			entry.Size = int64(len(content))
		}
		if err := writer.WriteHeader(&entry); err != nil {
			t.Fatal(err)
		}
		if entry.Typeflag == tar.TypeReg {
			if _, err := writer.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(append(disk, archive.Bytes()...))
}

func TestReadReport(t *testing.T) {
	tests := []struct {
		name, header string
		want         int
		missing      bool
	}{
		{"success", reportMagic + "exit 0\n", 0, false},
		{"signal", reportMagic + "exit 137\n", 137, false},
		{"blank disk", "", 0, true},
		{"another version", "sandboxrun-vm 2\nexit 0\n", 0, true},
		{"no code", reportMagic, 0, true},
		{"code out of range", reportMagic + "exit 256\n", 0, true},
		{"negative code", reportMagic + "exit -1\n", 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readReport(reportDisk(t, test.header))
			if errors.Is(err, errNoReport) != test.missing || (!test.missing && (err != nil || got != test.want)) {
				t.Errorf("got %d, %v, want %d, missing %v", got, err, test.want, test.missing)
			}
		})
	}
}

func TestExtractOut(t *testing.T) {
	disk := reportDisk(t, "",
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./log", Typeflag: tar.TypeReg, Mode: 0o4644},
		tar.Header{Name: "./closed/", Typeflag: tar.TypeDir, Mode: 0o000},
		tar.Header{Name: "./closed/inner", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "log"},
		tar.Header{Name: "./same", Typeflag: tar.TypeLink, Linkname: "./log"},
		tar.Header{Name: "./null", Typeflag: tar.TypeChar},
	)
	dir := filepath.Join(t.TempDir(), "made")
	// The second time every name exists.
	for range 2 {
		var warnings strings.Builder
		if err := extractOut(disk, dir, &warnings); err != nil {
			t.Fatal(err)
		}
		if want := "vm: /out/null is neither file, directory nor link; not copied\n"; warnings.String() != want {
			t.Errorf("warnings %q, want %q", warnings.String(), want)
		}
	}
	var got strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&got, "%s %s", info.Mode(), path)
		if target, err := os.Readlink(filepath.Join(dir, path)); err == nil {
			fmt.Fprintf(&got, " -> %s", target)
		}
		if content, err := os.ReadFile(filepath.Join(dir, path)); err == nil {
			fmt.Fprintf(&got, ": %s", content)
		}
		got.WriteByte('\n')
		return nil
	})
	want := `drwx------ closed
-rw------- closed/inner: content of ./closed/inner
Lrwxrwxrwx link -> log: content of ./log
-rw-r--r-- log: content of ./log
-rw-r--r-- same: content of ./log
`
	if err != nil || got.String() != want {
		t.Errorf("got\n%s%v, want\n%s", got.String(), err, want)
	}
}

func TestExtractOutStaysInside(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
	}{
		{"dots", []tar.Header{{Name: "../outside", Typeflag: tar.TypeReg}}},
		{"absolute", []tar.Header{{Name: "/outside", Typeflag: tar.TypeReg}}},
		{"through a link", []tar.Header{
			{Name: "up", Typeflag: tar.TypeSymlink, Linkname: ".."},
			{Name: "up/outside", Typeflag: tar.TypeReg},
		}},
		{"link to outside", []tar.Header{{Name: "in", Typeflag: tar.TypeLink, Linkname: "../secret"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parent := t.TempDir()
			if err := os.WriteFile(filepath.Join(parent, "secret"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := extractOut(reportDisk(t, "", test.entries...), filepath.Join(parent, "out"), io.Discard); err == nil {
				t.Error("no error")
			}
			if _, err := os.Lstat(filepath.Join(parent, "outside")); err == nil {
				t.Error("a file outside the directory")
			}
		})
	}
}

func FuzzReport(f *testing.F) {
	good, err := io.ReadAll(reportDisk(f, reportMagic+"exit 7\n", tar.Header{Name: "a/b", Typeflag: tar.TypeReg}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:64], good[reportTarOffset:])
	f.Fuzz(func(t *testing.T, header, archive []byte) {
		disk := make([]byte, reportTarOffset, reportTarOffset+len(archive))
		copy(disk[:reportHeaderSize], header)
		disk = append(disk, archive...)
		if code, err := readReport(bytes.NewReader(disk)); err == nil && (code < 0 || code > 255) {
			t.Errorf("exit code %d", code)
		}
		parent := t.TempDir()
		_ = extractOut(bytes.NewReader(disk), filepath.Join(parent, "out"), io.Discard)
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Errorf("outside the directory: %v, %v", entries, err)
		}
	})
}
