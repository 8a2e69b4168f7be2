package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

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

// TestMirrors: the mirror is asked for the repository by the name that it has at
// the registry; docker's own images have "library/" there.
func TestMirrors(t *testing.T) {
	b := large(t)
	var seen trace
	good := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen.note(r); next.ServeHTTP(w, r) })
	}, map[string]built{"a:1": b, "x/a:1": b, "library/a:1": b})
	bad := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	}, nil)
	for name, test := range map[string]struct {
		registry, reference string
		mirrors             []string
		asked               string // of good
	}{
		"mirror has it":             {"registry.invalid", "registry.invalid/a:1", []string{"http://" + good}, "/v2/a/"},
		"second mirror has it":      {"registry.invalid", "registry.invalid/a:1", []string{bad, good}, "/v2/a/"},
		"registry has it":           {good, good + "/a:1", []string{bad}, "/v2/a/"},
		"of the registry of docker": {"docker.io", "docker.io/x/a:1", []string{good}, "/v2/x/a/"},
		"of an image of docker's":   {"docker.io", "a:1", []string{good}, "/v2/library/a/"},
	} {
		t.Run(name, func(t *testing.T) {
			o := quick()
			o.Mirrors = map[string][]string{test.registry: test.mirrors}
			manifests, blobs := seen.count(test.asked+"manifests/1"), seen.count(test.asked+"blobs/")
			img, err := load(t, open(t), "docker://"+test.reference, o)
			if err != nil {
				t.Fatal(err)
			}
			requireFile(t, img, "etc/both", "2")
			manifests, blobs = seen.count(test.asked+"manifests/1")-manifests, seen.count(test.asked+"blobs/")-blobs
			// The configuration and two layers.
			if manifests != 1 || blobs != 3 {
				t.Errorf("%s was asked for %d manifests and %d blobs, want 1 and 3: %q", good, manifests, blobs, seen.requests)
			}
		})
	}
}

// TestMirrorWithoutTheImage: the registry is asked then, and its word counts.
func TestMirrorWithoutTheImage(t *testing.T) {
	var seen trace
	empty := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen.note(r); next.ServeHTTP(w, r) })
	}, nil)
	forbidden := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	}, nil)
	o := quick()
	o.Mirrors = map[string][]string{forbidden: {empty}}
	_, err := load(t, open(t), "docker://"+forbidden+"/a:1", o)
	if !errors.Is(err, image.ErrUnauthorized) || seen.count("/v2/a/manifests/1") != 1 {
		t.Errorf("got %v; the mirror was asked %q", err, seen.requests)
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
