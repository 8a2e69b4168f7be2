package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

func TestEachSourceIsBroughtOnce(t *testing.T) {
	p := &plan.Plan{Services: []plan.Service{
		{Name: "a", Image: plan.Image{Source: "docker://redis:7"}},
		{Name: "b", Image: plan.Image{Source: "docker://redis:7"}, PreStart: []plan.Hook{{Image: &plan.Image{Source: "docker://busybox"}}, {}}},
		{Name: "c", Image: plan.Image{Source: "docker://redis:7", Pull: "always"}},
		{Name: "d", Image: plan.Image{Source: "docker://redis:7"}, Sandbox: service.Service{Platform: "linux/arm64"}},
		{Name: "e", Image: plan.Image{Host: true}},
		{Name: "f", Image: plan.Image{Source: "docker://redis:7", Pull: "if_not_present"}},
	}}
	uses := imageUses(p, "")
	var got []string
	for _, u := range uses {
		got = append(got, strings.Join([]string{u.source, u.platform, u.pull, strings.Join(u.services, "+")}, " "))
	}
	want := "docker://redis:7  missing a+b+f, docker://busybox  missing b, docker://redis:7  always c, docker://redis:7 linux/arm64 missing d"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if uses := imageUses(p, "never"); len(uses) != 3 || uses[0].pull != "never" || len(uses[0].services) != 4 {
		t.Errorf("--pull never gives %+v", uses[0])
	}
	d := manifest.FromSum(make([]byte, 32))
	results := []brought{{Digest: d, Reference: "r"}, {Error: "gone"}, {Digest: d}, {Error: "no arm"}}
	err := takeResults(uses, results)
	if err == nil || err.Error() != "service b: gone\nservice d: no arm" {
		t.Errorf("the error is %v", err)
	}
	for i, want := range []manifest.Digest{d, d, d, "", "", d} {
		if got := p.Services[i].Image.Digest; got != want {
			t.Errorf("service %s has the digest %q", p.Services[i].Name, got)
		}
	}
}

// TestReferencesAreThoseOfTheStore: sandboxrun-images names images, and this
// program, which links another library, looks for them.
func TestReferencesAreThoseOfTheStore(t *testing.T) {
	for _, name := range []string{
		"redis", "redis:7", "library/redis", "docker.io/redis:7", "index.docker.io/library/redis", "registry.example.org/team/app", "registry.example.org:5000/app:v1.2", "localhost:5000/x",
		"127.0.0.1:5000/a/b/c", "redis@sha256:" + strings.Repeat("0", 64), "redis:7@sha256:" + strings.Repeat("0", 64),
	} {
		want, err := image.Normalize(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := reference.ParseDockerRef(name)
		if err != nil || got.String() != want {
			t.Errorf("%s is %v, %v here and %s in the store", name, got, err, want)
		}
	}
}

func TestLocalFiles(t *testing.T) {
	for source, want := range map[string]string{
		"/srv/x": "/srv/x", "/srv/x:y": "/srv/x:y", "dir:/srv/x": "/srv/x", "tar:/srv/x.tar": "/srv/x.tar", "docker://redis": "",
		"oci:/srv/x": "/srv/x", "oci-archive:/x.tar": "/x.tar", "docker-archive:/x.tar": "/x.tar", "oci:/srv/x:tag": "", "docker-archive:/x.tar:redis": "",
	} {
		if got := strings.Join(localFiles(source), " "); got != want {
			t.Errorf("%s is made of %q, want %q", source, got, want)
		}
	}
	if got := localFiles("binary:/srv/x"); got[0] != "/srv/x" || len(got) < 2 {
		t.Errorf("a program is made of %q: the certificates are missing", got)
	}
}

func TestTimesAndDurations(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": now, "all": {}, "10m": now.Add(-10 * time.Minute), "2026-11-23T11:00:00Z": now.Add(-time.Hour), "2026-11-23T11:00:00": now.Add(-time.Hour), "2026-11-23": now.Add(-12 * time.Hour),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "0": 0, "1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond} {
		if got, err := parseSeconds(text); err != nil || got != want {
			t.Errorf("parseSeconds(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1s", "5 s"} {
		if got, err := parseSeconds(text); err == nil {
			t.Errorf("parseSeconds(%q) = %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m", 90 * time.Minute: "1h", 49 * time.Hour: "2d"} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestSiblingProgramsAreWhereInstallPutsThem(t *testing.T) {
	if _, err := siblingProgram("sandboxrun-none"); err == nil || !strings.Contains(err.Error(), `"make install"`) {
		t.Errorf("a missing program gives %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if path, err := siblingProgram(filepath.Base(self)); err != nil || filepath.Base(path) != filepath.Base(self) {
		t.Errorf("got %q, %v", path, err)
	}
}
