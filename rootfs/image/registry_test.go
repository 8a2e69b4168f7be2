package image_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// large is an image with a layer of a megabyte that does not compress well.
func large(t testing.TB) built {
	t.Helper()
	noise := make([]byte, 1<<20)
	seed := uint32(1)
	for i := range noise {
		seed = seed*1664525 + 1013904223
		noise[i] = byte(seed >> 24)
	}
	return build(t, manifest.Host(), nil, map[string]string{"etc/low": "low", "noise": string(noise)}, two[1])
}

func TestPull(t *testing.T) {
	b := large(t)
	var seen trace
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen.note(r); next.ServeHTTP(w, r) })
	}, map[string]built{"a/b:1": b})
	s := open(t)
	img, err := load(t, s, "docker://"+host+"/a/b:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	if img.Digest != manifest.DigestOf(b.manifest) || len(img.Layers) != 2 {
		t.Errorf("got %+v", img)
	}
	requireFile(t, img, "etc/both", "2")
	requireSound(t, s)
	before := seen.count("")
	if _, err := load(t, s, "docker://"+host+"/a/b:1", quick()); err != nil || seen.count("") != before {
		t.Errorf("missing: %d requests more, %v", seen.count("")-before, err)
	}
	o := quick()
	o.Pull = image.PullAlways
	blobs := seen.count("/blobs/")
	if _, err := load(t, s, "docker://"+host+"/a/b:1", o); err != nil || seen.count("/blobs/") != blobs {
		t.Errorf("always: %d blobs more, %v", seen.count("/blobs/")-blobs, err)
	}
	pinned := fmt.Sprintf("docker://%s/a/b@%s", host, img.Digest)
	if _, err := load(t, s, pinned, quick()); err != nil {
		t.Errorf("pinned: %v", err)
	}
	o.Pull = image.PullNever
	if _, err := load(t, s, "docker://"+host+"/a/c:1", o); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("never: got %v", err)
	}
	if _, err := load(t, s, "docker://"+host+"/a/b:2", quick()); !errors.Is(err, image.ErrUnknown) {
		t.Errorf("unknown tag: got %v", err)
	}
}

func TestPullChoosesPlatform(t *testing.T) {
	amd, arm := build(t, manifest.Platform{OS: "linux", Architecture: "amd64"}, nil, two[0]), build(t, manifest.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, nil, two[1])
	index := manifest.Index{SchemaVersion: 2, MediaType: manifest.TypeOCIIndex}
	both := built{blobs: map[manifest.Digest][]byte{}, m: manifest.Manifest{MediaType: manifest.TypeOCIIndex}}
	for _, b := range []built{amd, arm} {
		c, err := manifest.ParseConfig(b.config)
		if err != nil {
			t.Fatal(err)
		}
		p := c.Platform()
		index.Manifests = append(index.Manifests, manifest.Descriptor{MediaType: manifest.TypeOCIManifest, Digest: manifest.DigestOf(b.manifest), Size: int64(len(b.manifest)), Platform: &p})
	}
	both.manifest = encode(t, index)
	host := serveIndex(t, []built{amd, arm}, both)
	for _, platform := range []string{"linux/amd64", "linux/arm64", "linux/arm64/v8"} {
		p, err := manifest.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		o := quick()
		o.Platform = p
		img, err := load(t, open(t), "docker://"+host+"/x:1", o)
		if err != nil || img.Config.Architecture != p.Architecture {
			t.Errorf("%s: got %+v, %v", platform, img.Config, err)
		}
	}
	o := quick()
	o.Platform = manifest.Platform{OS: "linux", Architecture: "riscv64"}
	_, err := load(t, open(t), "docker://"+host+"/x:1", o)
	if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), "linux/amd64, linux/arm64/v8") {
		t.Errorf("got %v", err)
	}
}

// serveIndex pushes images without tags and the index under x:1.
func serveIndex(t *testing.T, images []built, index built) string {
	t.Helper()
	all := map[string]built{}
	for i, b := range images {
		all[fmt.Sprintf("x:%d", i+10)] = b
	}
	return serve(t, func(next http.Handler) http.Handler {
		push(t, next, http.MethodPut, "/v2/x/manifests/1", manifest.TypeOCIIndex, index.manifest)
		return next
	}, all)
}

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

func TestMirrors(t *testing.T) {
	b := large(t)
	good := serve(t, nil, map[string]built{"a:1": b})
	bad := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	}, nil)
	for name, test := range map[string]struct {
		registry string
		mirrors  []string
	}{
		"mirror has it":             {"registry.invalid", []string{"http://" + good}},
		"second mirror has it":      {"registry.invalid", []string{bad, good}},
		"registry has it":           {good, []string{bad}},
		"of the registry of docker": {"docker.io", []string{good}},
	} {
		t.Run(name, func(t *testing.T) {
			o := quick()
			o.Mirrors = map[string][]string{test.registry: test.mirrors}
			reference := test.registry + "/a:1"
			if test.registry == "docker.io" {
				o.Attempts = 1
				reference = "docker.io/x/a:1"
			}
			img, err := load(t, open(t), "docker://"+reference, o)
			if test.registry == "docker.io" {
				// The mirror knows a, not x/a: what counts is that it was asked, and then
				// docker's registry, which is out of reach or refuses.
				if err == nil {
					t.Error("it was found")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			requireFile(t, img, "etc/both", "2")
		})
	}
}

// TestPlainHTTPIsNotGuessed: a name that is no loopback address is asked by TLS
// only, though the library would try plain HTTP for private addresses.
func TestPlainHTTPIsNotGuessed(t *testing.T) {
	o := quick()
	o.Attempts = 1
	for _, host := range []string{"10.255.255.1:5000", "registry.local"} {
		_, err := load(t, open(t), "docker://"+host+"/a:1", o)
		if err == nil {
			t.Errorf("%s answered", host)
		}
	}
}

// TestCredentials: docker's config.json is used, and the token goes to the
// registry alone.
func TestCredentials(t *testing.T) {
	b := large(t)
	var leaked atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		data := b.blobs[manifest.Digest(strings.TrimPrefix(r.URL.Path, "/"))]
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}))
	t.Cleanup(elsewhere.Close)
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "u" || password != "geheim" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok {
				http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1)+"/"+digest, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, map[string]built{"a:1": b})
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	o := quick()
	o.Anonymous = false
	_, err := load(t, open(t), "docker://"+host+"/a:1", o)
	if !errors.Is(err, image.ErrUnauthorized) || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("without: got %v", err)
	}
	auth := fmt.Sprintf(`{"auths":{%q:{"username":"u","password":"geheim"}}}`, host)
	if err := os.WriteFile(config+"/config.json", []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, open(t), "docker://"+host+"/a:1", o); err != nil {
		t.Errorf("with: got %v", err)
	}
	if leaked.Load() {
		t.Error("the credential went to another host")
	}
}
