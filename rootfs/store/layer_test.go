package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func TestLayers(t *testing.T) {
	s := open(t)
	made := layer(t, s, "a")
	again, err := s.MakeLayer(t.Context(), made.DiffID, "", func(string) (store.Layer, error) { return store.Layer{}, errors.New("made twice") })
	if err != nil || again != made {
		t.Errorf("got %+v, %v, want %+v", again, err, made)
	}
	if _, err := s.Layer(made.DiffID, "user"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another variant: got %v", err)
	}
	broken := errors.New("the disk is full")
	_, err = s.MakeLayer(t.Context(), manifest.DigestOf(nil), "", func(dir string) (store.Layer, error) {
		if err := errors.Join(os.MkdirAll(dir+"/half/built", 0o700), os.Chmod(dir+"/half", 0)); err != nil {
			t.Error(err)
		}
		return store.Layer{}, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	requireEmpty(t, s, "tmp")
	if _, err := s.Layer(manifest.DigestOf(nil), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half built: got %v", err)
	}
	for _, variant := range []string{"../x", "A", "a b", strings.Repeat("x", 41)} {
		if _, err := s.Layer(made.DiffID, variant); err == nil {
			t.Errorf("variant %q was taken", variant)
		}
	}
}

// TestLayerAfterPowerCut: what was not settled before another boot is made again.
func TestLayerAfterPowerCut(t *testing.T) {
	s := open(t)
	lost, kept := layer(t, s, "lost"), layer(t, s, "kept")
	rewrite := func(l store.Layer, old, new string) {
		t.Helper()
		path := filepath.Join(filepath.Dir(l.Dir), "layer.json")
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(old)) {
			t.Fatalf("%s, %v", data, err)
		}
		if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(lost, `"boot":"`, `"boot":"another-`)
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	rewrite(kept, `"boot":"`, `"boot":"another-`)
	if _, err := s.Layer(kept.DiffID, ""); err != nil {
		t.Errorf("settled: got %v", err)
	}
	if _, err := s.Layer(lost.DiffID, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("not settled: got %v", err)
	}
	findings, err := s.Fsck(t.Context(), false, nil)
	if err != nil || len(findings) != 1 || !strings.Contains(findings[0].Problem, "restarted") {
		t.Errorf("got %+v, %v", findings, err)
	}
	if layer(t, s, "lost"); true {
		if _, err := s.Layer(lost.DiffID, ""); err != nil {
			t.Errorf("made again: got %v", err)
		}
	}
	requireEmpty(t, s, "tmp")
}
