package store_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func TestBlobs(t *testing.T) {
	s := open(t)
	d := add(t, s, "hello")
	got, err := s.ReadBlob(d)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	// One that is there is not read again.
	if err := s.AddBlob(t.Context(), d, 5, strings.NewReader("other")); err != nil {
		t.Error(err)
	}
	other := manifest.DigestOf([]byte("other"))
	if _, err := s.Blob(other); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("missing: got %v", err)
	}
	for name, content := range map[string]string{"wrong content": "OTHER", "too long": "otherother", "too short": "o"} {
		if err := s.AddBlob(t.Context(), other, 5, strings.NewReader(content)); !errors.Is(err, store.ErrDigest) || s.HasBlob(other) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AddBlob(cancelled, other, 5, strings.NewReader("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	for _, bad := range []manifest.Digest{"", "sha256:../../x", "md5:00"} {
		if _, err := s.Blob(bad); err == nil {
			t.Errorf("blob %q was opened", bad)
		}
	}
	requireEmpty(t, s, "tmp")
}

func TestPartialGoesOn(t *testing.T) {
	s := open(t)
	content := strings.Repeat("0123456789", 1000)
	d := manifest.DigestOf([]byte(content))
	for _, end := range []int{1, 10, 9999, 10000} {
		p, err := s.Partial(t.Context(), d, int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(p, content[p.Offset():end]); err != nil {
			t.Fatal(err)
		}
		if end == len(content) {
			if err := p.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Partial(t.Context(), d, int64(len(content))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	got, err := s.ReadBlob(d)
	if err != nil || string(got) != content {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	requireEmpty(t, s, "partial")
}

func TestPartialForgetsWhatIsWrong(t *testing.T) {
	s := open(t)
	d := manifest.DigestOf([]byte("right"))
	p, err := s.Partial(t.Context(), d, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.WriteString(p, "wrong"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "!"); !errors.Is(err, store.ErrDigest) {
		t.Errorf("too long: got %v", err)
	}
	if err := p.Commit(); !errors.Is(err, store.ErrDigest) || p.Offset() != 0 {
		t.Errorf("got %v at %d", err, p.Offset())
	}
	if _, err := io.WriteString(p, "right"); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Error(err)
	}
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Partial(wait, d, 5); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("held by another: got %v", err)
	}
}
