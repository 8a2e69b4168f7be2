package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// TestPullGoesOnWhereItEnded: what a former pull fetched is not fetched again.
func TestPullGoesOnWhereItEnded(t *testing.T) {
	b := large(t)
	var seen trace
	var cut atomic.Bool
	cut.Store(true)
	first := b.m.Layers[0]
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen.note(r)
			if cut.Load() && strings.HasSuffix(r.URL.Path, string(first.Digest)) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				half(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, map[string]built{"a:1": b})
	s := open(t)
	if _, err := load(t, s, "docker://"+host+"/a:1", quick()); !errors.Is(err, image.ErrRegistry) {
		t.Fatalf("got %v, want ErrRegistry", err)
	}
	info, err := os.Stat(filepath.Join(s.Root(), "partial", first.Digest.Hex()))
	if err != nil || info.Size() != first.Size/2 {
		t.Fatalf("partial has %v, %v, want %d", info, err, first.Size/2)
	}
	cut.Store(false)
	if _, err := load(t, s, "docker://"+host+"/a:1", quick()); err != nil {
		t.Fatal(err)
	}
	if seen.count(fmt.Sprintf("%s bytes=%d-", first.Digest, first.Size/2)) < 1 {
		t.Errorf("requests %q", seen.requests)
	}
	requireSound(t, s)
}

// TestPullMendsADamagedPartial: what is left of a former download is wrong.
func TestPullMendsADamagedPartial(t *testing.T) {
	b := large(t)
	host := serve(t, nil, map[string]built{"a:1": b})
	s := open(t)
	for _, size := range []int64{1000, b.m.Layers[0].Size, b.m.Layers[0].Size + 5} {
		if err := os.WriteFile(filepath.Join(s.Root(), "partial", b.m.Layers[0].Digest.Hex()), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(t, s, "docker://"+host+"/a:1", quick()); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		requireSound(t, s)
		if _, err := s.Prune(t.Context(), store.PruneOptions{Images: true}); err != nil {
			t.Fatal(err)
		}
	}
}
