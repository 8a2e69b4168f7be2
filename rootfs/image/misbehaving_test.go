package image_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// misbehaviours are what a registry does to a request for a blob or manifest; it
// behaves once they are used up.
var misbehaviours = map[string]func(t testing.TB, w http.ResponseWriter, r *http.Request, next http.Handler){
	"stalls before the answer": func(_ testing.TB, _ http.ResponseWriter, r *http.Request, _ http.Handler) { stall(r) },
	"stalls in the middle": func(_ testing.TB, w http.ResponseWriter, r *http.Request, next http.Handler) {
		half(w, r, next)
		w.(http.Flusher).Flush()
		stall(r)
	},
	"truncates": func(_ testing.TB, w http.ResponseWriter, r *http.Request, next http.Handler) { half(w, r, next) },
	"hangs up": func(_ testing.TB, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			connection.Close()
		}
	},
	"answers 429": func(_ testing.TB, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusTooManyRequests)
	},
	"answers 500": func(_ testing.TB, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInternalServerError)
	},
	"answers 503": func(_ testing.TB, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusServiceUnavailable)
	},
	"ignores the range": func(_ testing.TB, w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	},
	"gives another range": func(_ testing.TB, w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Range") == "" {
			half(w, r, next)
			return
		}
		w.Header().Set("Content-Range", "bytes 1-2/3")
		w.WriteHeader(http.StatusPartialContent)
	},
}

// stall gives nothing for longer than the tests' StallTimeout.
func stall(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(2 * time.Second):
	}
}

// half sends half of an answer and ends the connection.
func half(w http.ResponseWriter, r *http.Request, next http.Handler) {
	recorder := httptest.NewRecorder()
	next.ServeHTTP(recorder, r)
	body := recorder.Body.Bytes()
	for k, v := range recorder.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(recorder.Code)
	_, _ = w.Write(body[:len(body)/2])
}

func TestPullFromMisbehavingRegistry(t *testing.T) {
	b := large(t)
	for name, misbehave := range misbehaviours {
		for _, what := range []string{"/blobs/", "/manifests/", "/v2/"} {
			t.Run(name+" of "+what, func(t *testing.T) {
				t.Parallel()
				var left atomic.Int32
				left.Store(3)
				host := serve(t, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if strings.Contains(r.URL.Path, what) && left.Add(-1) >= 0 {
							misbehave(t, w, r, next)
							return
						}
						next.ServeHTTP(w, r)
					})
				}, map[string]built{"a:1": b})
				s := open(t)
				img, err := load(t, s, "docker://"+host+"/a:1", quick())
				if err != nil {
					t.Fatal(err)
				}
				requireFile(t, img, "etc/both", "2")
				requireSound(t, s)
			})
		}
	}
}

func TestPullGivesUp(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusTooManyRequests: image.ErrRegistry, http.StatusInternalServerError: image.ErrRegistry, http.StatusUnauthorized: image.ErrUnauthorized,
		http.StatusForbidden: image.ErrUnauthorized, http.StatusNotFound: image.ErrUnknown, http.StatusTeapot: image.ErrRegistry,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			var seen trace
			host := serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					seen.note(r)
					if r.URL.Path == "/v2/" {
						next.ServeHTTP(w, r)
						return
					}
					w.WriteHeader(status)
					fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"no\n\u001b[31m way"}]}`)
				})
			}, map[string]built{"a:1": large(t)})
			s := open(t)
			_, err := load(t, s, "docker://"+host+"/a:1", quick())
			if !errors.Is(err, want) || strings.ContainsAny(err.Error(), "\n\x1b") || !strings.Contains(err.Error(), "DENIED") {
				t.Errorf("got %q, want %v", err, want)
			}
			attempts := 1
			if want == image.ErrRegistry && status != http.StatusTeapot { //nolint:errorlint // the table's own value
				attempts = 6
			}
			if got := seen.count("/manifests/"); got != attempts {
				t.Errorf("%d attempts, want %d", got, attempts)
			}
			requireSound(t, s)
		})
	}
}

// TestPullHonoursRetryAfter: the pause is what the registry asks for.
func TestPullHonoursRetryAfter(t *testing.T) {
	var first atomic.Bool
	var asked, answered atomic.Int64
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				if !first.Swap(true) {
					asked.Store(time.Now().UnixNano())
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				answered.CompareAndSwap(0, time.Now().UnixNano())
			}
			next.ServeHTTP(w, r)
		})
	}, map[string]built{"a:1": build(t, manifest.Host(), nil, two...)})
	if _, err := load(t, open(t), "docker://"+host+"/a:1", quick()); err != nil {
		t.Fatal(err)
	}
	if waited := time.Duration(answered.Load() - asked.Load()); waited < time.Second {
		t.Errorf("asked again after %s", waited)
	}
}

// TestPullRefusesLies: what the registry gives is not what its name says.
func TestPullRefusesLies(t *testing.T) {
	b := large(t)
	lie := func(suffix, content string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, suffix) {
					w.Header().Set("Content-Type", manifest.TypeOCIManifest)
					_, _ = io.WriteString(w, content)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	same := strings.Repeat("x", int(b.m.Layers[0].Size))
	for name, test := range map[string]struct {
		suffix, content string
		is              error
	}{
		"manifest":      {"/manifests/" + string(manifest.DigestOf(b.manifest)), string(b.manifest) + " ", store.ErrDigest},
		"configuration": {string(b.m.Config.Digest), strings.Repeat(" ", len(b.config)), store.ErrDigest},
		"layer":         {string(b.m.Layers[0].Digest), same, store.ErrDigest},
		"longer layer":  {string(b.m.Layers[0].Digest), same + "x", store.ErrDigest},
		"huge document": {"/manifests/" + string(manifest.DigestOf(b.manifest)), strings.Repeat(" ", 5<<20), manifest.ErrInvalid},
		"no manifest":   {"/manifests/" + string(manifest.DigestOf(b.manifest)), "<html>", store.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, lie(test.suffix, test.content), map[string]built{"a:1": b})
			s := open(t)
			_, err := load(t, s, fmt.Sprintf("docker://%s/a@%s", host, manifest.DigestOf(b.manifest)), quick())
			if !errors.Is(err, test.is) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %v", err, test.is)
			}
			if _, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil {
				t.Fatal(err)
			}
			requireSound(t, s)
		})
	}
}
