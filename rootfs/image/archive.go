package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

const tarBlock = 512

// maxArchiveEntries bounds the index of an archive of images.
const maxArchiveEntries = 100000

// archive is a tar file whose regular files can be opened by name. The tar is
// read once, for where they are.
type archive struct {
	file  *os.File
	names map[string]place
}

type place struct {
	offset, size int64
	link         string // of a symbolic or hard link, clean
}

// openArchive indexes the tar file at path; a packed one is unpacked to a file
// without a name first.
func openArchive(ctx context.Context, s *store.Store, path string) (retArchive *archive, retErr error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			f.Close()
		}
	}()
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if unpack.Sniff(head[:n]) != unpack.Plain {
		packed := f
		defer packed.Close()
		if f, err = unpackArchive(ctx, s, packed); err != nil {
			return nil, err
		}
	}
	a := &archive{file: f, names: map[string]place{}}
	if err := a.index(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// maxArchive bounds what a packed archive may unpack to, in bytes.
const maxArchive = 256 << 30

func unpackArchive(ctx context.Context, s *store.Store, packed io.Reader) (*os.File, error) {
	unpacked, _, release, err := unpack.Decompress(packed)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := s.Scratch()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(&cancellable{ctx, unpacked}, maxArchive))
	if err == nil && n == maxArchive {
		err = &unpack.LimitError{Limit: "archive", Max: maxArchive}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: the packed archive", ErrTruncated)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// cancellable ends a reader with its context.
type cancellable struct {
	ctx context.Context // lives as long as the one call that reads
	r   io.Reader
}

func (c *cancellable) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

func (a *archive) index(ctx context.Context) error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	t := tar.NewReader(a.file)
	end := int64(0) // of the last entry
	for count := 0; ; count++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// An archive ends with blocks of zeros (pax, "ustar Interchange Format"),
			// which a cut between two entries takes away.
			if info.Size() < end+tarBlock {
				return fmt.Errorf("%w: it ends after %d files without an end mark", ErrTruncated, count)
			}
			return nil
		}
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: it ends after %d files", ErrTruncated, count)
		case err != nil:
			return fmt.Errorf("%w: it is no tar archive", unpack.ErrCorrupt)
		case count >= maxArchiveEntries:
			return &unpack.LimitError{Limit: "Entries", Max: maxArchiveEntries, Entry: h.Name}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		// tar.Reader reads whole blocks and seeks past contents, so the file's own
		// position is that of the content.
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		end = (offset + h.Size + tarBlock - 1) / tarBlock * tarBlock
		name := cleanMember(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			if offset+h.Size > info.Size() {
				return fmt.Errorf("%w: it ends within %q", ErrTruncated, h.Name)
			}
			a.names[name] = place{offset: offset, size: h.Size}
		case tar.TypeSymlink: // docker save before version 25 links equal layers
			a.names[name] = place{link: cleanMember(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			a.names[name] = place{link: cleanMember(h.Linkname)}
		}
	}
}

func cleanMember(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// open returns the content of a member.
func (a *archive) open(name string) (*io.SectionReader, error) {
	clean := cleanMember(name)
	for range 8 {
		p, ok := a.names[clean]
		if !ok {
			break
		}
		if p.link == "" {
			return io.NewSectionReader(a.file, p.offset, p.size), nil
		}
		clean = p.link
	}
	return nil, fmt.Errorf("%w: the archive has no file %.200q", ErrUnknown, name)
}

// read returns the content of a small member.
func (a *archive) read(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > manifest.MaxDocument {
		return nil, fmt.Errorf("%w: %q has %d bytes, more than %d", manifest.ErrInvalid, name, r.Size(), manifest.MaxDocument)
	}
	return io.ReadAll(r)
}

func (a *archive) close() { a.file.Close() }

// dockerArchive is the origin of what `docker save` writes. It has no manifest of its own, so one is
// made, the same for the same image.
type dockerArchive struct {
	*archive
	manifest []byte
	config   []byte
	layers   map[manifest.Digest]string // digest of a layer: its member
}

// savedImage is an element of manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openDockerArchive(ctx context.Context, s *store.Store, src Source) (origin, error) {
	a, err := openArchive(ctx, s, src.Path)
	if err != nil {
		return nil, err
	}
	d := &dockerArchive{archive: a, layers: map[manifest.Digest]string{}}
	if err := d.describe(ctx, src.Reference); err != nil {
		a.close()
		return nil, err
	}
	return d, nil
}

func (d *dockerArchive) describe(ctx context.Context, reference string) error {
	data, err := d.read("manifest.json")
	if err != nil {
		return err
	}
	saved, err := chooseSaved(data, reference)
	if err != nil {
		return err
	}
	if d.config, err = d.read(saved.Config); err != nil {
		return err
	}
	config, err := manifest.ParseConfig(d.config)
	if err != nil {
		return err
	}
	if len(config.RootFS.DiffIDs) != len(saved.Layers) {
		return fmt.Errorf("%w: the archive has %d layers and the configuration %d", manifest.ErrInvalid, len(saved.Layers), len(config.RootFS.DiffIDs))
	}
	m := manifest.Manifest{
		SchemaVersion: 2, MediaType: manifest.TypeDockerManifest, Layers: []manifest.Descriptor{},
		Config: manifest.Descriptor{MediaType: manifest.TypeDockerConfig, Digest: manifest.DigestOf(d.config), Size: int64(len(d.config))},
	}
	for i, member := range saved.Layers {
		layer, err := d.describeLayer(ctx, member, config.RootFS.DiffIDs[i])
		if err != nil {
			return err
		}
		d.layers[layer.Digest] = member
		m.Layers = append(m.Layers, layer)
	}
	d.manifest, err = manifest.Encode(m)
	return err
}

// describeLayer says what the layer of an archive is. Of a plain one the diff ID
// is the digest; a packed one is hashed. Both are verified when it is unpacked.
func (d *dockerArchive) describeLayer(ctx context.Context, member string, diffID manifest.Digest) (manifest.Descriptor, error) {
	r, err := d.open(member)
	if err != nil {
		return manifest.Descriptor{}, err
	}
	head := make([]byte, 512)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return manifest.Descriptor{}, err
	}
	descriptor := manifest.Descriptor{MediaType: manifest.TypeDockerLayer, Digest: diffID, Size: r.Size()}
	kind := unpack.Sniff(head[:n])
	if kind == unpack.Plain {
		return descriptor, nil
	}
	measured, err := unpack.Measure(ctx, r, unpack.Limits{})
	if err != nil {
		return manifest.Descriptor{}, err
	}
	descriptor.Digest = manifest.Digest(measured.Digest)
	descriptor.MediaType += "." + string(kind)
	return descriptor, nil
}

func chooseSaved(data []byte, reference string) (savedImage, error) {
	var images []savedImage
	if err := decode(data, &images); err != nil {
		return savedImage{}, fmt.Errorf("read manifest.json: %w: %w", manifest.ErrInvalid, err)
	}
	var names []string
	for _, image := range images {
		for _, tag := range image.RepoTags {
			if tag == reference || (reference != "" && same(tag, reference)) {
				return image, nil
			}
			names = append(names, tag)
		}
	}
	if reference == "" && len(images) == 1 {
		return images[0], nil
	}
	slices.Sort(names)
	if reference == "" {
		return savedImage{}, fmt.Errorf("%w: the archive has %d images; name one of %s after the file's name and a colon", ErrUnknown, len(images), strings.Join(names, ", "))
	}
	return savedImage{}, fmt.Errorf("%w: %q is not among %s", ErrUnknown, reference, strings.Join(names, ", "))
}

// same tells whether two references mean the same.
func same(a, b string) bool {
	fullA, errA := Normalize(a)
	fullB, errB := Normalize(b)
	return errA == nil && errB == nil && fullA == fullB
}

func (d *dockerArchive) root(context.Context) ([]byte, string, error) {
	return d.manifest, manifest.TypeDockerManifest, nil
}

func (d *dockerArchive) document(_ context.Context, asked manifest.Descriptor) ([]byte, error) {
	return verified(d.config, asked)
}

func (d *dockerArchive) layer(_ context.Context, asked manifest.Descriptor) (io.ReadCloser, error) {
	r, err := d.open(d.layers[asked.Digest])
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}
