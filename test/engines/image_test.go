package engines

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// image is the name of the image in every engine: busybox and the sample program
// workload, whose command is a shell.
const image = "docker.io/library/sandboxrun-test:1"

// applets are the programs of the image that are busybox.
var applets = strings.Fields("cat chmod dd echo env false grep head hostname httpd id ip kill ln ls mkdir mount " +
	"nc nslookup ping ps pwd rm sh sleep sort stat stty tail test touch true tty umount uname wc wget whoami")

// imageArchive returns the path of the image as a file for `ctr image import`,
// `podman load` and `docker load`; the first call makes it. The same programs make
// the same file.
func imageArchive(t *testing.T) string {
	t.Helper()
	path := filepath.Join(shared.dir, "image.tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	layer := imageLayer(t, "/bin/busybox", fromEnvironment(t, "SANDBOXRUN_BUNDLES", "workload", "rootfs", "bin", "workload"))
	if err := os.WriteFile(path, packImage(t, layer), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// imageLayer returns the image's only layer, a tar.
func imageLayer(t *testing.T, busybox, workload string) []byte {
	t.Helper()
	var layer archive
	for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var"} {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		layer.add(t, tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}, nil)
	}
	for name, from := range map[string]string{"bin/busybox": busybox, "bin/workload": workload} {
		program, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		layer.add(t, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, program)
	}
	for _, applet := range applets {
		layer.add(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
	}
	layer.add(t, tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n"))
	layer.add(t, tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nguest:x:1000:\n"))
	return layer.bytes(t)
}

// archive is a tar being written. Its members are put in order of their names,
// without times and owners, so that the same content has the same digest.
type archive struct{ members []member }

type member struct {
	header tar.Header
	data   []byte
}

func (a *archive) add(t *testing.T, header tar.Header, data []byte) {
	t.Helper()
	header.Size = int64(len(data))
	a.members = append(a.members, member{header, data})
}

func (a *archive) bytes(t *testing.T) []byte {
	t.Helper()
	slices.SortStableFunc(a.members, func(x, y member) int { return strings.Compare(x.header.Name, y.header.Name) })
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, m := range a.members {
		if err := writer.WriteHeader(&m.header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// packImage makes an archive of one layer that is an OCI image layout (index.json)
// and a docker archive (manifest.json) at once: both name the same blobs.
func packImage(t *testing.T, layer []byte) []byte {
	t.Helper()
	var packed archive
	blob := func(data []byte) string {
		name := hex.EncodeToString(sum(data))
		packed.add(t, tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + name, Mode: 0o644}, data)
		return name
	}
	file := func(name string, content any) {
		packed.add(t, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, encode(t, content))
	}

	layerDigest := blob(layer)
	config := encode(t, map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/bin", "MADE_BY=sandboxrun"},
			"Cmd": []string{"/bin/sh"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerDigest}},
	})
	configDigest := blob(config)
	manifest := encode(t, map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor("application/vnd.oci.image.config.v1+json", config, nil),
		"layers":        []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer, nil)},
	})
	blob(manifest)
	_, tag, _ := strings.Cut(image, ":")
	file("index.json", map[string]any{
		"schemaVersion": 2,
		"manifests": []any{descriptor("application/vnd.oci.image.manifest.v1+json", manifest, map[string]string{
			"io.containerd.image.name":          image,
			"org.opencontainers.image.ref.name": tag,
		})},
	})
	file("manifest.json", []any{map[string]any{
		"Config":   "blobs/sha256/" + configDigest,
		"RepoTags": []string{image},
		"Layers":   []string{"blobs/sha256/" + layerDigest},
	}})
	file("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	return packed.bytes(t)
}

func descriptor(mediaType string, data []byte, annotations map[string]string) map[string]any {
	d := map[string]any{
		"mediaType": mediaType,
		"digest":    "sha256:" + hex.EncodeToString(sum(data)),
		"size":      len(data),
		"platform":  map[string]string{"architecture": "amd64", "os": "linux"},
	}
	if annotations != nil {
		d["annotations"] = annotations
	}
	return d
}

func sum(data []byte) []byte {
	digest := sha256.Sum256(data)
	return digest[:]
}

func encode(t *testing.T, content any) []byte {
	t.Helper()
	data, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestImageNamesItsOwnBlobs runs everywhere: each digest in the archive is that
// of the blob with its name.
func TestImageNamesItsOwnBlobs(t *testing.T) {
	packed := packImage(t, []byte("a layer"))
	if !bytes.Equal(packed, packImage(t, []byte("a layer"))) {
		t.Error("the same layer makes another archive")
	}
	files := map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(packed))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
	type blob struct {
		Digest string
		Size   int
	}
	var index struct{ Manifests []blob }
	decode(t, files["index.json"], &index)
	check := func(b blob) []byte {
		data := files["blobs/"+strings.Replace(b.Digest, ":", "/", 1)]
		if b.Digest != "sha256:"+hex.EncodeToString(sum(data)) || b.Size != len(data) {
			t.Errorf("%+v names %d bytes %q", b, len(data), data)
		}
		return data
	}
	var manifest struct {
		Config blob
		Layers []blob
	}
	decode(t, check(index.Manifests[0]), &manifest)
	check(manifest.Config)
	if got := check(manifest.Layers[0]); string(got) != "a layer" {
		t.Errorf("the layer is %q", got)
	}
	var docker []struct {
		Config string
		Layers []string
	}
	decode(t, files["manifest.json"], &docker)
	if got := "sha256:" + filepath.Base(docker[0].Config); got != manifest.Config.Digest {
		t.Errorf("docker's config is %s, OCI's %s", got, manifest.Config.Digest)
	}
	if got := "sha256:" + filepath.Base(docker[0].Layers[0]); got != manifest.Layers[0].Digest {
		t.Errorf("docker's layer is %s, OCI's %s", got, manifest.Layers[0].Digest)
	}
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v: %q", err, data)
	}
}
