package store_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func TestFsckFindsAndRepairs(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, root string, d manifest.Digest)
		want   string
	}{
		{"flipped blob", func(t *testing.T, root string, d manifest.Digest) {
			overwrite(t, filepath.Join(root, "blobs/sha256", d.Hex()), "{}")
		}, "its content has another digest"},
		{"stray blob", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, root+"/blobs/sha256/stray", "x")
		}, "it is no blob"},
		{"broken layer record", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/layers/*/layer.json"), "{")
		}, "its record cannot be read"},
		{"lost tree", func(t *testing.T, root string, _ manifest.Digest) {
			if err := os.RemoveAll(glob(t, root+"/layers/*/fs")); err != nil {
				t.Fatal(err)
			}
		}, "its tree is missing"},
		{"changed tree", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/layers/*/fs/file"), "changed")
		}, "its tree differs"},
		{"broken reference", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, glob(t, root+"/images/*.json"), "[]")
		}, "its record cannot be read"},
		{"reference of another name", func(t *testing.T, root string, d manifest.Digest) {
			overwrite(t, glob(t, root+"/images/*.json"), `{"version":1,"reference":"y","digest":"`+string(d)+`"}`)
		}, "it is the record of"},
		{"lost manifest", func(t *testing.T, root string, d manifest.Digest) {
			if err := os.Remove(filepath.Join(root, "blobs/sha256", d.Hex())); err != nil {
				t.Fatal(err)
			}
		}, "is broken"},
		{"broken lease", func(t *testing.T, root string, _ manifest.Digest) {
			overwrite(t, root+"/leases/x.json", `{"version":1,"name":"n"}`)
		}, "its record cannot be read"},
	}
	remake := func(_ context.Context, _ io.Reader, _ store.Layer, dir string) error {
		return os.WriteFile(dir+"/file", []byte("content"), 0o644)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			d := image(t, s, "x", "content")
			test.damage(t, s.Root(), d)
			findings, err := s.Fsck(t.Context(), false, remake)
			if err != nil || len(findings) == 0 || !strings.Contains(findings[0].Problem, test.want) || findings[0].Repaired {
				t.Fatalf("got %+v, %v, want %q", findings, err, test.want)
			}
			if _, err := s.Fsck(t.Context(), true, remake); err != nil {
				t.Fatal(err)
			}
			// What refers to what was removed may come to light only then.
			if _, err := s.Fsck(t.Context(), true, remake); err != nil {
				t.Fatal(err)
			}
			requireSound(t, s)
			image(t, s, "x", "content")
			requireSound(t, s)
		})
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}
