package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/pack"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// loadFiles makes an image of one layer from a root filesystem or a program. The layer is read twice:
// once for its digest, by which the store may have it already, and once into its
// place. The same files give the same image.
func loadFiles(ctx context.Context, s *store.Store, src Source, o Options) (manifest.Digest, error) {
	open, config, err := filesLayer(ctx, src, o)
	if err != nil {
		return "", err
	}
	stream, err := open()
	if err != nil {
		return "", err
	}
	measured, err := unpack.Measure(ctx, stream, o.Unpack.Limits)
	if closeErr := stream.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", err
	}
	d := manifest.Descriptor{MediaType: mediaType(measured.Compression), Digest: manifest.Digest(measured.Digest), Size: measured.Read}
	diffID := manifest.Digest(measured.DiffID)
	config.RootFS = manifest.RootFS{Type: "layers", DiffIDs: []manifest.Digest{diffID}}
	from := &files{open: open}
	if err := loadLayer(ctx, s, from, d, diffID, make(chan struct{}, 1), o); err != nil {
		return "", err
	}
	configData, err := manifest.Encode(config)
	if err != nil {
		return "", err
	}
	m := manifest.Manifest{
		SchemaVersion: 2, MediaType: manifest.TypeOCIManifest,
		Config: manifest.Descriptor{MediaType: manifest.TypeOCIConfig, Digest: manifest.DigestOf(configData), Size: int64(len(configData))},
		Layers: []manifest.Descriptor{d},
	}
	data, err := manifest.Encode(m)
	if err != nil {
		return "", err
	}
	return addDocuments(ctx, s, data, configData, m.Config.Digest)
}

func mediaType(c unpack.Compression) string {
	if c == unpack.Plain {
		return manifest.TypeOCILayer
	}
	return manifest.TypeOCILayer + "+" + string(c)
}

// files is the origin of a layer that is made as it is read.
type files struct {
	origin // only layer is called
	open   func() (io.ReadCloser, error)
}

func (f *files) layer(context.Context, manifest.Descriptor) (io.ReadCloser, error) { return f.open() }

// filesLayer returns how the layer of src is read, and the image's configuration
// without it.
func filesLayer(ctx context.Context, src Source, o Options) (func() (io.ReadCloser, error), manifest.Config, error) {
	config := manifest.Config{
		OS: o.Platform.OS, Architecture: o.Platform.Architecture, Variant: o.Platform.Variant,
		Config: manifest.Execution{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
	}
	switch src.Kind {
	case Directory:
		return func() (io.ReadCloser, error) {
			return written(func(w io.Writer) error { return pack.Directory(ctx, w, src.Path) }), nil
		}, config, nil
	case Tar:
		return func() (io.ReadCloser, error) { return os.Open(src.Path) }, config, nil
	}
	name := filepath.Base(src.Path)
	if strings.HasPrefix(name, ".wh.") {
		return nil, manifest.Config{}, fmt.Errorf("%w: a program's name cannot begin with .wh.; rename it", ErrSource)
	}
	program, err := os.ReadFile(src.Path)
	if err != nil {
		return nil, manifest.Config{}, bare(err)
	}
	if err := pack.IsStatic(bytes.NewReader(program)); err != nil {
		return nil, manifest.Config{}, fmt.Errorf("%w: %w", ErrSource, err)
	}
	certificates, err := pack.HostCertificates()
	if err != nil {
		return nil, manifest.Config{}, err
	}
	config.Config.Entrypoint = []string{"/" + name}
	config.Config.WorkingDir = "/"
	return func() (io.ReadCloser, error) {
		return written(func(w io.Writer) error {
			return pack.Binary(w, name, bytes.NewReader(program), int64(len(program)), certificates)
		}), nil
	}, config, nil
}

// written turns a function that writes into a reader. Close ends the function and
// waits for it.
func written(write func(w io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	p := &pipe{PipeReader: r, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		w.CloseWithError(write(w))
	}()
	return p
}

type pipe struct {
	*io.PipeReader
	done chan struct{}
}

func (p *pipe) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}
