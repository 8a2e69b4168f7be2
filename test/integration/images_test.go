package integration_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// serveRegistry is an empty registry on loopback, in memory: image-registry FILE
// writes its address to FILE. image-registry FILE RATE gives blobs at RATE bytes a
// second, so that there is time to interrupt a pull. SIGTERM ends it.
func serveRegistry() {
	if err := runRegistry(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image-registry:", err)
		os.Exit(1)
	}
}

func runRegistry(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)))
	if len(args) > 1 {
		var rate int
		if _, err := fmt.Sscan(args[1], &rate); err != nil {
			return err
		}
		handler = slowBlobs(handler, rate)
	}
	if err := os.WriteFile(args[0], []byte(listener.Addr().String()), 0o644); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

// slowBlobs gives the bodies of blobs in pieces of a hundredth of a second.
func slowBlobs(next http.Handler, rate int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w = &slowWriter{w, rate / 100}
		}
		next.ServeHTTP(w, r)
	})
}

type slowWriter struct {
	http.ResponseWriter
	piece int
}

func (s *slowWriter) Write(data []byte) (written int, err error) {
	for len(data) > 0 && err == nil {
		var n int
		n, err = s.ResponseWriter.Write(data[:min(s.piece, len(data))])
		s.ResponseWriter.(http.Flusher).Flush()
		data, written = data[n:], written+n
		<-time.After(10 * time.Millisecond)
	}
	return written, err
}

// makeImage writes an image of one layer for each TREE to a place:
//
//	make-image CONFIG.json TO TREE...
//
// LAYER_TYPE in the environment is the layers' media type, if it is to be a strange one.
// CONFIG.json is the "config" of an image's configuration; TO is oci:DIR:TAG,
// oci-archive:FILE, docker-archive:FILE or docker://HOST/REFERENCE.
func makeImage() {
	if err := writeImage(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "make-image:", err)
		os.Exit(1)
	}
}

func writeImage(configFile, to string, trees []string) error {
	img, err := newImage(configFile, trees)
	if err != nil {
		return err
	}
	kind, at, _ := strings.Cut(to, ":")
	switch kind {
	case "oci":
		dir, tag, _ := strings.Cut(at, ":")
		return writeLayout(img, dir, tag)
	case "oci-archive":
		dir := at + ".d"
		if err := writeLayout(img, dir, ""); err != nil {
			return err
		}
		data, err := tarOf(dir)
		return errors.Join(err, os.WriteFile(at, data, 0o644), os.RemoveAll(dir))
	case "docker-archive":
		ref, err := name.ParseReference("example.org/app:1")
		if err != nil {
			return err
		}
		return tarball.WriteToFile(at, ref, img)
	case "docker":
		ref, err := name.ParseReference(strings.TrimPrefix(at, "//"), name.Insecure)
		if err != nil {
			return err
		}
		return remote.Write(ref, img)
	}
	return fmt.Errorf("no such kind of place: %s", to)
}

func newImage(configFile string, trees []string) (v1.Image, error) {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return nil, err
	}
	var config v1.Config
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, err
	}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	layerType := types.OCILayer
	if strange := os.Getenv("LAYER_TYPE"); strange != "" {
		layerType = types.MediaType(strange)
	}
	for _, tree := range trees {
		content, err := tarOf(tree)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
			tarball.WithMediaType(layerType))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture = config, "linux", "amd64"
	return mutate.ConfigFile(img, file)
}

func writeLayout(img v1.Image, dir, tag string) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	var options []layout.Option
	if tag != "" {
		options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
	}
	return path.AppendImage(img, options...)
}

// tarOf packs a directory, owned by whoever owns its files, without times.
func tarOf(dir string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		header.Name = strings.TrimPrefix(path, dir+"/")
		header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			header.Uid, header.Gid = int(stat.Uid), int(stat.Gid)
		}
		header.Uname, header.Gname = "", ""
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

func TestBundle(t *testing.T) { runScripts(t, "bundle", together) }
func TestImage(t *testing.T)  { runScripts(t, "image", together) }

// TestAMountThatIsLeftIsNoProcess: it is in every process's mount table.
func TestAMountThatIsLeftIsNoProcess(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	at := filepath.Join(dir, "x")
	if err := errors.Join(os.Mkdir(at, 0o755), unix.Mount("none", at, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if found := findProcesses("no-such-id", dir); len(found) > 0 {
		t.Errorf("%d processes are taken for the script's: %v", len(found), found[0])
	}
}

// TestServices runs real services from Debian's packages, which `make
// samples-services` extracts; the VM is given what slim.sh leaves of some. Scripts
// find them in $WORK/../../trees.
func TestServices(t *testing.T) {
	requireRoot(t)
	dir, promised := os.LookupEnv("SANDBOXRUN_SERVICES")
	if !promised {
		dir = "../../.cache/services"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); promised && err != nil {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("needs the trees of `make samples-services`: %v", err)
	}
	if err := os.Symlink(dir, filepath.Join(shared.dir, "trees")); err != nil {
		t.Fatal(err)
	}
	runScripts(t, "services", together)
}
