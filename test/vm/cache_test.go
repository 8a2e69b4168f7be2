package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContentHash(t *testing.T) {
	if contentHash("ab", "c") == contentHash("a", "bc") {
		t.Error("the border between two inputs doesn't count")
	}
	if got := contentHash("a"); got != contentHash("a") || len(got) != 16 {
		t.Errorf("got %q", got)
	}
}

func testCache(t *testing.T) cache {
	t.Helper()
	t.Setenv("SANDBOXRUN_CACHE", t.TempDir())
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScratchRemovesOnlyLeftovers(t *testing.T) {
	c := testCache(t)
	dead := filepath.Join(c.dir, "tmp", "dead", "root")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := c.newScratch()
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.newScratch()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dead: false, first.dir: true, second.dir: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", path, err, want)
		}
	}
	for _, s := range []scratch{first, first, second} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(c.dir, "tmp")); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestImageIsUsedOnlyWhenComplete(t *testing.T) {
	c := testCache(t)
	img, complete := c.image(flavours()[0])
	if complete {
		t.Error("an image in an empty cache")
	}
	finished := filepath.Join(c.dir, "tmp", "finished")
	if err := os.Mkdir(finished, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(finished, "manifest"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := keep(finished, img.dir); err != nil {
		t.Fatal(err)
	}
	if _, complete := c.image(flavours()[0]); !complete {
		t.Error("no image after keep")
	}
}

func TestFlavours(t *testing.T) {
	hashes := map[string]string{}
	for _, f := range flavours() {
		if other, taken := hashes[f.hash()]; taken {
			t.Errorf("%s has the image of %s", f.name, other)
		}
		hashes[f.hash()] = f.name
		if found, err := findFlavour(f.name); err != nil || found != f {
			t.Errorf("%s: got %+v, %v", f.name, found, err)
		}
		if !strings.HasPrefix(f.packages, basePackages) {
			t.Errorf("%s has not what every guest has", f.name)
		}
		changed := f
		changed.script += "true\n"
		if changed.hash() == f.hash() {
			t.Errorf("%s: another script makes the same image", f.name)
		}
	}
	if _, err := findFlavour("none"); err == nil || err.Error() != `cannot use --image "none": not one of base, engines, systemd` {
		t.Errorf("got %v", err)
	}
}

func TestBuildStep(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root for namespaces")
	}
	dir := t.TempDir()
	// The mount has to be gone with the script, and so has the process.
	script := `mount -t tmpfs t "$1" && touch "$1/inside"; sleep 1000 & echo building; exit "$2"`
	if err := buildStep(t.Context(), &strings.Builder{}, "step", script, dir, "0"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("mounted on the host: %v, %v", entries, err)
	}
	err := buildStep(t.Context(), &strings.Builder{}, "step", script, dir, "3")
	if err == nil || !strings.Contains(err.Error(), "build step: exit status 3; its last output:\nbuilding") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := buildStep(ctx, &strings.Builder{}, "step", script, dir, "0"); err == nil {
		t.Error("no error after cancel")
	}
}

func TestProbed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accelerator.json")
	want := probed{Host: "h", Accelerator: accelTCG, Reason: "no /dev/kvm"}
	if err := writeProbed(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readProbed(path); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, content := range []string{"", "{}", `{"accelerator":"xen"}`, "["} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := readProbed(path); err == nil {
			t.Errorf("%q gives %+v", content, got)
		}
	}
}
