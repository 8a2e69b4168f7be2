package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
	"golang.org/x/sync/errgroup"
)

// unpackers bounds the memory of a load: one takes up to some 80 MiB with the
// largest zstd window, and 10 MiB as a rule.
const unpackers = 2

// origin is where the parts of an image come from.
type origin interface {
	// root returns the manifest or index that was asked for, and its media type as
	// the origin tells it.
	root(ctx context.Context) (data []byte, mediaType string, err error)
	// document returns the document d, verified.
	document(ctx context.Context, d manifest.Descriptor) ([]byte, error)
	// layer opens the layer d; its content is verified by the caller.
	layer(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error)
	close()
}

// Load brings the image of src into s and returns it, tagged. A load that is
// interrupted is gone on with by the next. The error says in one line what is
// wrong with what, and wraps one of this package's, manifest's, unpack's or
// store's.
func Load(ctx context.Context, s *store.Store, src Source, o Options) (store.Image, error) {
	o = o.withDefaults()
	name := src.display()
	if src.Kind != Registry && o.Name != "" {
		name = o.Name
	}
	writer, err := s.Write(ctx)
	if err != nil {
		return store.Image{}, err
	}
	defer writer.Close() //nolint:errcheck // the lock ends with the descriptor
	if src.Kind == Registry && o.Pull != PullAlways {
		image, err := s.Image(name, o.Variant)
		if err == nil && runs(o.Platform, image.Config) {
			return image, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: it is for %s", ErrPlatform, image.Config.Platform())
		}
		if o.Pull == PullNever {
			return store.Image{}, fmt.Errorf("cannot use image %q: %w; let it be pulled", name, err)
		}
	}
	d, err := load(ctx, s, src, o)
	if err != nil {
		return store.Image{}, fmt.Errorf("cannot load %s: %w", src, err)
	}
	if err := s.Tag(name, d); err != nil {
		return store.Image{}, err
	}
	return s.Image(name, o.Variant)
}

func load(ctx context.Context, s *store.Store, src Source, o Options) (manifest.Digest, error) {
	var from origin
	var err error
	switch src.Kind {
	case Registry:
		from, err = openRegistry(s, src.Reference, o)
	case Layout:
		from, err = openLayout(src, o)
	case LayoutArchive:
		from, err = openLayoutArchive(ctx, s, src, o)
	case DockerArchive:
		from, err = openDockerArchive(ctx, s, src)
	case Directory, Tar, Binary:
		return loadFiles(ctx, s, src, o)
	default:
		return "", fmt.Errorf("%w: kind %q", ErrSource, src.Kind)
	}
	if err != nil {
		return "", err
	}
	defer from.close()
	return loadFrom(ctx, s, from, o)
}

// loadFrom brings documents, then layers; the reference comes last, by the
// caller, when all is there.
func loadFrom(ctx context.Context, s *store.Store, from origin, o Options) (manifest.Digest, error) {
	data, m, err := choose(ctx, from, o.Platform)
	if err != nil {
		return "", err
	}
	configData, err := from.document(ctx, m.Config)
	if err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	config, err := manifest.ParseConfig(configData)
	if err != nil {
		return "", err
	}
	if err := manifest.Agree(m, config); err != nil {
		return "", err
	}
	if !runs(o.Platform, config) {
		return "", fmt.Errorf("%w: it is for %s and not for %s; choose another by --platform", ErrPlatform, config.Platform(), o.Platform)
	}
	if err := loadLayers(ctx, s, from, m, config, o); err != nil {
		return "", err
	}
	return addDocuments(ctx, s, data, configData, m.Config.Digest)
}

// choose returns the manifest for the platform, by way of an index if there is
// one.
func choose(ctx context.Context, from origin, platform manifest.Platform) ([]byte, manifest.Manifest, error) {
	data, told, err := from.root(ctx)
	if err != nil {
		return nil, manifest.Manifest{}, err
	}
	// An index may name an index (image-spec, image-index.md); none in use does so
	// twice.
	for range 3 {
		kind, err := manifest.Kind(data, told)
		if err != nil {
			return nil, manifest.Manifest{}, err
		}
		if manifest.IsManifest(kind) {
			m, err := manifest.ParseManifest(data)
			return data, m, err
		}
		index, err := manifest.ParseIndex(data)
		if err != nil {
			return nil, manifest.Manifest{}, err
		}
		d, err := index.Select(platform)
		if err != nil {
			return nil, manifest.Manifest{}, fmt.Errorf("%w: %w; choose another by --platform", ErrPlatform, err)
		}
		if data, err = from.document(ctx, d); err != nil {
			return nil, manifest.Manifest{}, fmt.Errorf("manifest for %s: %w", platform, err)
		}
		told = d.MediaType
	}
	return nil, manifest.Manifest{}, fmt.Errorf("%w: an index within indexes", manifest.ErrMediaType)
}

// runs tells whether an image can be run on p. One that does not say what it is
// for is taken at its word.
func runs(p manifest.Platform, c manifest.Config) bool {
	have := c.Platform()
	if have.OS == "" {
		have.OS = p.OS
	}
	if have.Architecture == "" {
		have.Architecture = p.Architecture
	}
	return p.Runs(have)
}

func addDocuments(ctx context.Context, s *store.Store, data, configData []byte, config manifest.Digest) (manifest.Digest, error) {
	if err := addBytes(ctx, s, config, configData); err != nil {
		return "", err
	}
	d := manifest.DigestOf(data)
	return d, addBytes(ctx, s, d, data)
}

// loadLayers fetches and unpacks what is missing. One failure ends the others.
func loadLayers(ctx context.Context, s *store.Store, from origin, m manifest.Manifest, config manifest.Config, o Options) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.Parallel)
	unpacking := make(chan struct{}, unpackers)
	for i, d := range m.Layers {
		diffID := config.RootFS.DiffIDs[i]
		group.Go(func() error {
			if err := loadLayer(ctx, s, from, d, diffID, unpacking, o); err != nil {
				return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(m.Layers), d.Digest.Short(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

func loadLayer(ctx context.Context, s *store.Store, from origin, d manifest.Descriptor, diffID manifest.Digest, unpacking chan struct{}, o Options) error {
	if _, err := s.Layer(diffID, o.Variant); err == nil {
		o.Progress(Progress{Digest: d.Digest, Stage: "exists", Done: d.Size, Total: d.Size})
		return nil
	}
	stream, err := from.layer(ctx, d)
	if err != nil {
		return err
	}
	defer stream.Close()
	select {
	case unpacking <- struct{}{}:
		defer func() { <-unpacking }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err = s.MakeLayer(ctx, diffID, o.Variant, func(dir string) (store.Layer, error) {
		return unpackLayer(ctx, dir, stream, d, diffID, o)
	})
	if err != nil {
		return err
	}
	o.Progress(Progress{Digest: d.Digest, Stage: "done", Done: d.Size, Total: d.Size})
	return nil
}

// unpackLayer unpacks a stream and verifies both digests, which are known when
// all is read: until then the tree has no name.
func unpackLayer(ctx context.Context, dir string, stream io.Reader, d manifest.Descriptor, diffID manifest.Digest, o Options) (store.Layer, error) {
	counted := &meter{r: stream, digest: d.Digest, stage: "unpack", total: d.Size, report: o.Progress}
	result, err := unpack.Layer(ctx, dir, counted, o.Unpack)
	if err != nil && (errors.Is(err, unpack.ErrCorrupt) || errors.Is(err, unpack.ErrTruncated)) {
		// That the layer is not what its digest says explains it better.
		if measured, measureErr := restLength(stream, counted); measureErr == nil && measured >= 0 && measured != d.Size {
			return store.Layer{}, fmt.Errorf("%w: it has %d bytes and not %d: %w", ErrTruncated, measured, d.Size, err)
		}
		return store.Layer{}, err
	}
	if err != nil {
		return store.Layer{}, err
	}
	if result.Read != d.Size {
		return store.Layer{}, fmt.Errorf("%w: it has %d bytes and not %d", store.ErrDigest, result.Read, d.Size)
	}
	if result.Digest != string(d.Digest) {
		return store.Layer{}, fmt.Errorf("%w: what came as %s is %s", store.ErrDigest, d.Digest, result.Digest)
	}
	if result.DiffID != string(diffID) {
		return store.Layer{}, fmt.Errorf("%w: unpacked it is %s, and the configuration says %s", store.ErrDigest, result.DiffID, diffID)
	}
	return store.Layer{
		Form: o.Unpack.Form.String(), Blob: d.Digest, Bytes: result.Unpacked, Entries: result.Entries, HidesBelow: result.HidesBelow,
	}, nil
}

// restLength reads what is left of a broken stream and returns its length.
func restLength(stream io.Reader, counted *meter) (int64, error) {
	rest, err := io.Copy(io.Discard, stream)
	return counted.done + rest, err
}

// meter reports how far a stream is read, at most every 256 KiB.
type meter struct {
	r                     io.Reader
	digest                manifest.Digest
	stage                 string
	done, reported, total int64
	report                func(Progress)
}

const meterStep = 256 << 10

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.done += int64(n)
	if m.done-m.reported >= meterStep || (err != nil && m.done > m.reported) {
		m.reported = m.done
		m.report(Progress{Digest: m.digest, Stage: m.stage, Done: m.done, Total: m.total})
	}
	return n, err
}
