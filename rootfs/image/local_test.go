package image_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/tree"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

var two = []map[string]string{{"etc/low": "low", "etc/both": "1"}, {"etc/high": "high", "etc/both": "2"}}

func load(t testing.TB, s *store.Store, source string, o image.Options) (store.Image, error) {
	t.Helper()
	src, err := image.ParseSource(source, "/")
	if err != nil {
		return store.Image{}, err
	}
	o.Unpack.OwnAll = os.Geteuid() != 0
	return image.Load(t.Context(), s, src, o)
}

func TestLoadLocal(t *testing.T) {
	b := build(t, manifest.Host(), nil, two...)
	docker := dockerFiles(t, []string{"redis:7"}, b)
	linked := dockerFiles(t, nil, build(t, manifest.Host(), nil, two[0]))
	archive := writeTar(t, docker)
	packed := archive + ".gz"
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packed, gzipped(t, data), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, source string
		layers       int
	}{
		{"layout", "oci:" + writeDir(t, layoutFiles(t, map[string]built{"": b})), 2},
		{"layout by tag", "oci:" + writeDir(t, layoutFiles(t, map[string]built{"7": b, "8": build(t, manifest.Host(), nil, two[0])})) + ":7", 2},
		{"layout archive", "oci-archive:" + writeTar(t, layoutFiles(t, map[string]built{"": b})), 2},
		{"docker archive", "docker-archive:" + archive, 2},
		{"docker archive by name", "docker-archive:" + archive + ":docker.io/library/redis:7", 2},
		{"packed docker archive", "docker-archive:" + packed, 2},
		{"docker archive without tags", "docker-archive:" + writeTar(t, linked), 1},
		{"guessed layout", writeDir(t, layoutFiles(t, map[string]built{"": b})), 2},
		{"guessed docker archive", packed, 2},
		{"guessed layout archive", writeTar(t, layoutFiles(t, map[string]built{"": b})), 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			var stages []string
			o := image.Options{Name: "local/x", Progress: func(p image.Progress) { stages = append(stages, p.Stage) }}
			img, err := load(t, s, test.source, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(img.Layers) != test.layers || img.Reference != "local/x" {
				t.Errorf("got %+v", img)
			}
			requireFile(t, img, "etc/low", "low")
			if test.layers == 2 {
				requireFile(t, img, "etc/both", "2")
			}
			requireSound(t, s)
			again, err := load(t, s, test.source, o)
			if err != nil || again.Digest != img.Digest || stages[len(stages)-1] != "exists" {
				t.Errorf("again: got %+v, %v, stages %q", again, err, stages)
			}
		})
	}
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(dir+"/bin", 0o755), os.WriteFile(dir+"/bin/a", []byte("a"), 0o755), os.Link(dir+"/bin/a", dir+"/bin/b"),
		os.Symlink("/etc/passwd", dir+"/bin/l"), os.Chmod(dir+"/bin/a", 0o4755|os.ModeSetuid), os.Chmod(dir, 0o750),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	packed := filepath.Join(t.TempDir(), "root.tar.gz")
	if out, err := exec.Command("tar", "-czf", packed, "-C", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := tree.Digest(dir, tree.Options{Times: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"dir:" + dir, dir} {
		s := open(t)
		img, err := load(t, s, source, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Digest(img.Layers[0].Dir, tree.Options{Times: true})
		if err != nil || got != want {
			var b bytes.Buffer
			_ = tree.Print(&b, img.Layers[0].Dir, tree.Options{Times: true})
			_ = tree.Print(&b, dir, tree.Options{Times: true})
			t.Errorf("%s: the tree differs: %v\n%s", source, err, &b)
		}
		again, err := load(t, open(t), source, image.Options{})
		if err != nil || again.Digest != img.Digest {
			t.Errorf("not reproducible: %s and %s, %v", img.Digest, again.Digest, err)
		}
		requireSound(t, s)
	}
	for _, source := range []string{"tar:" + packed, packed} {
		img, err := load(t, open(t), source, image.Options{})
		if err != nil {
			t.Fatal(err)
		}
		requireFile(t, img, "bin/b", "a")
	}
}

func TestLoadBinary(t *testing.T) {
	program := filepath.Join(t.TempDir(), "prog")
	data := staticProgram()
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	img, err := load(t, s, program, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Config.Config.Entrypoint; len(got) != 1 || got[0] != "/prog" {
		t.Errorf("entrypoint %q", got)
	}
	requireFile(t, img, "prog", string(data))
	info, err := os.Stat(img.Layers[0].Dir + "/tmp")
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp is %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"etc/passwd", "etc/group"} {
		if _, err := os.Stat(filepath.Join(img.Layers[0].Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := load(t, s, "binary:/usr/bin/env", image.Options{}); err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("dynamic: got %v", err)
	}
}

// staticProgram is the header of an ELF program without segments.
func staticProgram() []byte {
	b := make([]byte, 64)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	b[16], b[18], b[20], b[52] = byte(elf.ET_EXEC), byte(elf.EM_X86_64), 1, 64
	return b
}

func TestBadImages(t *testing.T) {
	host := manifest.Host()
	arm := manifest.Platform{OS: "linux", Architecture: "s390x"}
	files := func(b built, damage func(files map[string][]byte, b built)) string {
		t.Helper()
		files := layoutFiles(t, map[string]built{"": b})
		if damage != nil {
			damage(files, b)
		}
		return writeDir(t, files)
	}
	good := build(t, host, nil, two...)
	blob := func(d manifest.Digest) string { return "blobs/sha256/" + d.Hex() }
	tests := []struct {
		name, source string
		is           error
		want         string
	}{
		{"wrong platform", files(build(t, arm, nil, two...), nil), image.ErrPlatform, "it is for linux/s390x and not for linux/"},
		{"layer with another content", files(good, func(f map[string][]byte, b built) {
			f[blob(b.m.Layers[1].Digest)] = gzipped(t, layerTar(t, map[string]string{"etc/high": "evil"}))
		}), store.ErrDigest, "layer 2 of 2"},
		{"truncated layer", files(good, func(f map[string][]byte, b built) {
			name := blob(b.m.Layers[0].Digest)
			f[name] = f[name][:len(f[name])/2]
		}), image.ErrTruncated, "bytes and not"},
		{"corrupt layer", files(good, func(f map[string][]byte, b built) {
			name := blob(b.m.Layers[0].Digest)
			f[name] = bytes.Clone(f[name])
			f[name][len(f[name])-5] ^= 1
		}), unpack.ErrCorrupt, "layer 1 of 2"},
		{"wrong diff ID", files(build(t, host, func(_ *manifest.Manifest, c *manifest.Config) {
			c.RootFS.DiffIDs[0] = manifest.DigestOf([]byte("other"))
		}, two...), nil), store.ErrDigest, "unpacked it is sha256:"},
		{"diff ID missing", files(build(t, host, func(_ *manifest.Manifest, c *manifest.Config) {
			c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1]
		}, two...), nil), manifest.ErrInvalid, "the manifest has 2 layers and the configuration 1"},
		{"wrong media type of a layer", files(build(t, host, func(m *manifest.Manifest, _ *manifest.Config) {
			m.Layers[0].MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
		}, two...), nil), manifest.ErrMediaType, "helm"},
		{"wrong media type of the configuration", files(build(t, host, func(m *manifest.Manifest, _ *manifest.Config) {
			m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
		}, two...), nil), manifest.ErrMediaType, "no image of a program"},
		{"wrong size of a layer", files(build(t, host, func(m *manifest.Manifest, _ *manifest.Config) { m.Layers[0].Size++ }, two...), nil), store.ErrDigest, "bytes and not"},
		{"damaged manifest", files(good, func(f map[string][]byte, b built) {
			name := blob(manifest.DigestOf(b.manifest))
			f[name] = bytes.ReplaceAll(f[name], []byte("gzip"), []byte("zstd"))
		}), store.ErrDigest, "what came as"},
		{"damaged configuration", files(good, func(f map[string][]byte, b built) {
			f[blob(b.m.Config.Digest)] = append(f[blob(b.m.Config.Digest)], ' ')
		}), store.ErrDigest, "bytes and not"},
		{"missing layer", files(good, func(f map[string][]byte, b built) { delete(f, blob(b.m.Layers[0].Digest)) }), image.ErrUnknown, "layer 1 of 2"},
		{"no index", files(good, func(f map[string][]byte, _ built) { f["index.json"] = []byte("{") }), manifest.ErrInvalid, "read index"},
		{"empty index", files(good, func(f map[string][]byte, _ built) { f["index.json"] = []byte(`{"schemaVersion":2}`) }), image.ErrUnknown, "the layout is empty"},
		{"huge manifest", files(good, func(f map[string][]byte, _ built) { f["index.json"] = make([]byte, 5<<20) }), manifest.ErrInvalid, "more than"},
		{"strange type in the index", files(good, func(f map[string][]byte, _ built) {
			f["index.json"] = bytes.ReplaceAll(f["index.json"], []byte("image.manifest"), []byte("image.strange"))
		}), manifest.ErrMediaType, "image.strange"},
		{"no such tag", "oci:" + files(good, nil) + ":nine", image.ErrUnknown, `no "nine"`},
		{"truncated archive", "oci-archive:" + truncated(t, writeTar(t, layoutFiles(t, map[string]built{"": good}))), image.ErrTruncated, "it ends"},
		{"archive cut between entries", "oci-archive:" + cut(t, writeTar(t, layoutFiles(t, map[string]built{"": good}))), image.ErrTruncated, "without an end mark"},
		{"no archive", "docker-archive:" + writeTar(t, map[string][]byte{"x": nil}), image.ErrUnknown, "manifest.json"},
		{"hostile layer", files(build(t, host, nil, map[string]string{"../../x": "x"}), nil), unpack.ErrEntry, `its name has ".."`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			_, err := load(t, s, test.source, image.Options{Name: "x"})
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q (%v)", err, test.want, test.is)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
			requireSound(t, s)
			if entries, err := s.Images(); err != nil || len(entries) > 0 {
				t.Errorf("images %+v, %v", entries, err)
			}
		})
	}
}

// cut takes the end mark away.
func cut(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1024); err != nil {
		t.Fatal(err)
	}
	return path
}

func truncated(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseSource(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/text", []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"docker://redis":                      "docker://docker.io/library/redis:latest",
		"docker://redis:7":                    "docker://docker.io/library/redis:7",
		"docker://ghcr.io/a/b":                "docker://ghcr.io/a/b:latest",
		"docker://localhost:5000/x:1":         "docker://localhost:5000/x:1",
		"oci:" + dir + ":v1":                  "oci:" + dir + ":v1",
		"docker-archive:" + dir + "/text:r:7": "docker-archive:" + dir + "/text:r:7",
		"dir:.":                               "dir:" + dir,
		dir:                                   "dir:" + dir,
	} {
		got, err := image.ParseSource(source, dir)
		if err != nil || got.String() != want {
			t.Errorf("%q: got %q, %v, want %q", source, got, err, want)
		}
	}
	for _, bad := range []string{"", "docker://", "docker://UPPER", "docker://a:b:c", "oci:", "oci:/does/not/exist", "dir:" + dir + "/text", "tar:" + dir, dir + "/text", "nothing", "host:", "/dev/null"} {
		_, err := image.ParseSource(bad, dir)
		if !errors.Is(err, image.ErrSource) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
