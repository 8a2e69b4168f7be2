package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// Annotations that name an image within a layout (image-spec, annotations.md; the
// second is containerd's and docker's).
const (
	refName       = "org.opencontainers.image.ref.name"
	containerName = "io.containerd.image.name"
)

// layout is the origin of an OCI image layout, as a directory or in an archive.
type layout struct {
	open      func(name string) (io.ReadCloser, int64, error)
	release   func()
	reference string
	platform  manifest.Platform
}

func openLayout(src Source, o Options) (origin, error) {
	dir, err := os.OpenRoot(src.Path)
	if err != nil {
		return nil, err
	}
	open := func(name string) (io.ReadCloser, int64, error) {
		f, err := dir.Open(name)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%w: %q is no file", manifest.ErrInvalid, name)
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, info.Size(), nil
	}
	return &layout{open: open, release: func() { dir.Close() }, reference: src.Reference, platform: o.Platform}, nil
}

func openLayoutArchive(ctx context.Context, s *store.Store, src Source, o Options) (origin, error) {
	a, err := openArchive(ctx, s, src.Path)
	if err != nil {
		return nil, err
	}
	open := func(name string) (io.ReadCloser, int64, error) {
		r, err := a.open(name)
		if err != nil {
			return nil, 0, err
		}
		return io.NopCloser(r), r.Size(), nil
	}
	return &layout{open: open, release: a.close, reference: src.Reference, platform: o.Platform}, nil
}

func (l *layout) close() { l.release() }

func (l *layout) read(name string) ([]byte, error) {
	r, size, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > manifest.MaxDocument {
		return nil, fmt.Errorf("%w: %q has %d bytes, more than %d", manifest.ErrInvalid, name, size, manifest.MaxDocument)
	}
	return io.ReadAll(io.LimitReader(r, manifest.MaxDocument+1))
}

// root finds the image in index.json, which is an index of all images of the
// layout.
func (l *layout) root(ctx context.Context) ([]byte, string, error) {
	data, err := l.read("index.json")
	if err != nil {
		return nil, "", err
	}
	index, err := manifest.ParseIndex(data)
	if err != nil {
		return nil, "", err
	}
	d, err := l.choose(index)
	if err != nil {
		return nil, "", err
	}
	if d.MediaType != "" && !manifest.IsIndex(d.MediaType) && !manifest.IsManifest(d.MediaType) {
		return nil, "", fmt.Errorf("%w: the layout's index calls it %.100q", manifest.ErrMediaType, d.MediaType)
	}
	data, err = l.document(ctx, d)
	return data, d.MediaType, err
}

func (l *layout) choose(index manifest.Index) (manifest.Descriptor, error) {
	var names []string
	for _, d := range index.Manifests {
		name, full := d.Annotations[refName], d.Annotations[containerName]
		if l.reference != "" && (l.reference == name || l.reference == string(d.Digest) || (full != "" && same(full, l.reference))) {
			return d, nil
		}
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if l.reference != "" {
		return manifest.Descriptor{}, fmt.Errorf("%w: the layout has no %q; it has %s", ErrUnknown, l.reference, strings.Join(names, ", "))
	}
	switch len(index.Manifests) {
	case 0:
		return manifest.Descriptor{}, fmt.Errorf("%w: the layout is empty", ErrUnknown)
	case 1:
		return index.Manifests[0], nil
	}
	// Several, told apart by their platforms alone.
	if len(slices.Compact(names)) <= 1 {
		d, err := index.Select(l.platform)
		if err != nil {
			return manifest.Descriptor{}, fmt.Errorf("%w: %w; choose another by --platform", ErrPlatform, err)
		}
		return d, nil
	}
	return manifest.Descriptor{}, fmt.Errorf("%w: the layout has %d images; name one of %s after its path and a colon",
		ErrUnknown, len(index.Manifests), strings.Join(names, ", "))
}

func blobName(d manifest.Digest) string { return "blobs/sha256/" + d.Hex() }

func (l *layout) document(_ context.Context, d manifest.Descriptor) ([]byte, error) {
	data, err := l.read(blobName(d.Digest))
	if err != nil {
		return nil, err
	}
	return verified(data, d)
}

func (l *layout) layer(_ context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	r, _, err := l.open(blobName(d.Digest))
	return r, err
}

// verified returns data if it is what d names.
func verified(data []byte, d manifest.Descriptor) ([]byte, error) {
	if d.Size != int64(len(data)) {
		return nil, fmt.Errorf("%w: %s has %d bytes and not %d", store.ErrDigest, d.Digest, len(data), d.Size)
	}
	if got := manifest.DigestOf(data); got != d.Digest {
		return nil, fmt.Errorf("%w: what came as %s is %s", store.ErrDigest, d.Digest, got)
	}
	return data, nil
}

func decode(data []byte, into any) error { return json.Unmarshal(data, into) }

func addBytes(ctx context.Context, s *store.Store, d manifest.Digest, data []byte) error {
	return s.AddBlob(ctx, d, int64(len(data)), strings.NewReader(string(data)))
}
